"""cashews and aiocache: decorators, tags, locks, and cashews' client-side cache, which follows invalidations by pub/sub."""

import asyncio
from datetime import timedelta

from aiocache import RedisCache
from aiocache.serializers import JsonSerializer
from cashews import Cache, RateLimitError

from checks import PATIENCE_S, check, finish, in_loop, run, server, url


@in_loop
async def patiently(area):
    """Runs an area that may take so long and no longer."""
    await asyncio.wait_for(area(), PATIENCE_S)


async def until(done):
    while not await done():
        await asyncio.sleep(0.01)


async def decorators():
    cache, calls = Cache(), []
    cache.setup(url())

    @cache(ttl="1m", key="user:{number}", tags=["users", "user:{number}"])
    async def user(number):
        calls.append(number)
        return {"number": number}

    check([await user(1), await user(1), await user(2), calls], [{"number": 1}, {"number": 1}, {"number": 2}, [1, 2]])
    await cache.delete_tags("users")
    check([await user(1), calls], [{"number": 1}, [1, 2, 1]])

    @cache.locked(ttl=timedelta(seconds=30), key="guarded")
    @cache(ttl="1m", key="stampede")
    async def slow():
        calls.append("slow")
        await asyncio.sleep(0.05)
        return "value"

    check(set(await asyncio.gather(*(slow() for _ in range(20)))), {"value"})
    check(calls.count("slow"), 1)

    @cache.rate_limit(limit=2, period="1m", key="limited")
    async def limited():
        return "in"

    check([await limited(), await limited()], ["in", "in"])
    try:
        await limited()
        raise AssertionError("a limit let everybody in")
    except RateLimitError:
        pass
    await cache.close()


async def operations():
    cache = Cache()
    cache.setup(url())
    await cache.set("key", {"a": [1, "ü"]}, expire=60)
    check([await cache.get("key"), await cache.get("missing"), 0 < await cache.get_expire("key") <= 60], [{"a": [1, "ü"]}, None, True])
    check([await cache.incr("n"), await cache.incr("n", 5), await cache.set("key", 1, exist=False)], [1, 6, False])
    await cache.set_many({f"many:{n}": n for n in range(50)}, expire=60)
    check(len([key async for key in cache.scan("many:*")]), 50)
    await cache.delete_match("many:*")
    check([key async for key in cache.scan("many:*")], [])
    async with cache.lock("lock", expire=30):
        check(await cache.is_locked("lock"), True)
    await cache.close()


async def client_side():
    one, two = Cache(), Cache()
    for cache in (one, two):
        # On RESP3 the library does not see its own invalidations, with any server.
        cache.setup(f"{url()}?protocol=2", client_side=True)
        await cache.init()
    await one.set("key", "old", expire=60)
    check(await two.get("key"), "old")
    await one.set("key", "new", expire=60)

    async def changed():
        return await two.get("key") == "new"

    await until(changed)
    await one.delete("key")

    async def gone():
        return await two.get("key") is None

    await until(gone)
    check(await two.get("key"), None)
    await one.close()
    await two.close()


async def aiocache():
    host, port = server()
    cache = RedisCache(endpoint=host, port=port, namespace="aio:", serializer=JsonSerializer())
    check([await cache.set("key", {"a": 1}, ttl=60), await cache.get("key"), await cache.exists("key")], [True, {"a": 1}, True])
    check([await cache.add("new", 1), await cache.increment("count", 2), await cache.multi_get(["key", "missing"])], [True, 2, [{"a": 1}, None]])
    check([await cache.multi_set([("a", 1), ("b", 2)]), await cache.delete("a"), await cache.expire("b", 60)], [True, 1, True])
    await cache.clear(namespace="aio:")
    check(await cache.get("b"), None)
    await cache.close()


run("cashews", [patiently(area) for area in (decorators, operations, client_side)])
run("aiocache", [patiently(aiocache)])
finish()
