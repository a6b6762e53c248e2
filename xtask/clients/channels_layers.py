"""channels_redis: both channel layers of Django Channels; groups, capacities, and messages between two processes' layers."""

import asyncio

import redis
from channels.exceptions import ChannelFull
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from checks import PATIENCE_S, check, finish, in_loop, run, url

store = redis.Redis.from_url(url())
LAYERS = {"core": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}


async def subscribed(layer, count):
    """Waits until the server knows so many subscriptions; the layer does not, and what is sent before is not heard."""
    while isinstance(layer, RedisPubSubChannelLayer):
        channels = [name.decode() for name in store.pubsub_channels()]
        if sum(subscribers for _, subscribers in store.pubsub_numsub(*channels)) == count:
            break
        await asyncio.sleep(0.01)


async def messages(one, two):
    own, other = await one.new_channel(), await two.new_channel()
    await subscribed(one, 2)
    waiting = asyncio.ensure_future(two.receive(other))
    await one.send(other, {"type": "text", "body": b"\x00binary", "number": 7})
    check(await asyncio.wait_for(waiting, PATIENCE_S), {"type": "text", "body": b"\x00binary", "number": 7})
    for layer, channel in ((one, own), (two, other)):
        await layer.group_add("room", channel)
    await subscribed(one, 4)
    for number in range(20):
        await one.group_send("room", {"type": "chat", "number": number})
    for layer, channel in ((one, own), (two, other)):
        seen = [(await asyncio.wait_for(layer.receive(channel), PATIENCE_S))["number"] for _ in range(20)]
        check(seen, list(range(20)))
    await two.group_discard("room", other)
    await subscribed(one, 3)
    await one.group_send("room", {"type": "chat", "number": 99})
    await one.send(other, {"type": "direct"})
    check((await asyncio.wait_for(one.receive(own), PATIENCE_S))["number"], 99)
    check((await asyncio.wait_for(two.receive(other), PATIENCE_S))["type"], "direct")


async def capacity(one, two):
    layer = RedisChannelLayer(hosts=[url()], capacity=3)
    for number in range(3):
        await layer.send("full", {"type": "x", "number": number})
    try:
        await layer.send("full", {"type": "x"})
        raise AssertionError("a full channel took a message")
    except ChannelFull:
        pass
    check([(await layer.receive("full"))["number"] for _ in range(3)], [0, 1, 2])
    await layer.flush()
    await layer.close_pools()


@in_loop
async def with_layers(area, kind):
    """Runs an area with two layers, as two processes would have."""
    one, two = (LAYERS[kind](hosts=[url()]) for _ in range(2))
    await area(one, two)
    for layer in (one, two):
        await layer.flush()


run("channels-redis", [with_layers(messages, "core"), with_layers(capacity, "core")], note="core")
run("channels-redis", [with_layers(messages, "pubsub")], note="pubsub")
finish()
