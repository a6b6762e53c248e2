"""fastapi-cache2: cached routes of an application, through its test client."""

import asyncio
from contextlib import asynccontextmanager

import redis
import redis.asyncio
from fastapi import FastAPI
from fastapi.testclient import TestClient
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.coder import PickleCoder
from fastapi_cache.decorator import cache

from checks import check, finish, run, url, wait_until

store = redis.Redis.from_url(url())
calls = {"slow": 0, "short": 0, "pickled": 0}


@asynccontextmanager
async def lifespan(app):
    FastAPICache.init(RedisBackend(redis.asyncio.from_url(url())), prefix="app")
    yield
    FastAPICache.reset()


app = FastAPI(lifespan=lifespan)


@app.get("/slow/{item}")
@cache(expire=60, namespace="slow")
async def slow(item: str):
    calls["slow"] += 1
    return {"item": item, "calls": calls["slow"]}


@app.get("/short")
@cache(expire=1)
async def short():
    calls["short"] += 1
    return calls["short"]


@cache(expire=60, coder=PickleCoder)
async def pickled(number):
    calls["pickled"] += 1
    return {number, calls["pickled"]}


@app.get("/clear")
async def clear():
    return await FastAPICache.clear(namespace="slow")


@app.get("/function")
async def function():
    return [sorted(value) for value in await asyncio.gather(pickled(7), asyncio.sleep(0, set()))]


def routes():
    with TestClient(app) as client:
        first = client.get("/slow/a")
        check((first.json(), first.headers["x-fastapi-cache"]), ({"item": "a", "calls": 1}, "MISS"))
        again = client.get("/slow/a")
        check((again.json(), again.headers["x-fastapi-cache"]), (first.json(), "HIT"))
        check(client.get("/slow/b").json()["calls"], 2)
        check(client.get("/slow/a", headers={"if-none-match": again.headers["etag"]}).status_code, 304)
        check(client.get("/slow/a", headers={"cache-control": "no-store"}).json()["calls"], 3)
        check((len(store.keys("app:slow:*")), client.get("/clear").json(), store.keys("app:slow:*")), (2, None, []))
        check(client.get("/slow/a").json()["calls"], 4)


def expiry():
    with TestClient(app) as client:
        check((client.get("/short").json(), client.get("/short").json()), (1, 1))
        wait_until(lambda: client.get("/short").json() == 2)


def functions():
    with TestClient(app) as client:
        check((client.get("/function").json(), client.get("/function").json(), calls["pickled"]), ([[1, 7], []], [[1, 7], []], 1))


run("fastapi-cache2", [routes, expiry, functions])
finish()
