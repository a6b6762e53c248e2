"""Django: django-redis and Django's own Redis cache, and sessions of an application through its test client."""

import threading

import django
from django.conf import settings
from django.core.cache import caches
from django.http import JsonResponse
from django.urls import path

from checks import check, check_error, finish, run, url, wait_until


def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


def login(request):
    request.session.cycle_key()
    return JsonResponse({"key": request.session.session_key})


def logout(request):
    request.session.flush()
    return JsonResponse({})


urlpatterns = [path("visits", visits), path("login", login), path("logout", logout)]


def redis_cache(db, **options):
    options = {"CLIENT_CLASS": "django_redis.client.DefaultClient", **options}
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url(db), "OPTIONS": options}


settings.configure(
    SECRET_KEY="key",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    INSTALLED_APPS=["django.contrib.sessions"],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SESSION_SERIALIZER="django.contrib.sessions.serializers.JSONSerializer",
    CACHES={
        "default": redis_cache(0),
        "compressed": redis_cache(1, COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor", SERIALIZER="django_redis.serializers.json.JSONSerializer"),
        "hashed": redis_cache(2, CLIENT_CLASS="django_redis.client.HerdClient", CACHE_HERD_TIMEOUT=1),
        "own": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url(3)},
    },
)
django.setup()


def common(cache):
    """What every cache of Django does."""
    document = {"id": 7, "tags": ["a", "ü"], "none": None}
    check(cache.set("doc", document, 60) in (True, None), True)
    check((cache.get("doc"), cache.get("missing", "default")), (document, "default"))
    check((cache.add("doc", 1), cache.add("new", 1)), (False, True))
    check((cache.incr("new", 41), cache.decr("new", 2)), (42, 40))
    check_error(lambda: cache.incr("missing"), "Key '", ValueError)
    check(cache.get_or_set("computed", lambda: 5, 60), 5)
    check(cache.set_many({"a": 1, "b": "two"}, 60) in (None, []), True)
    check(cache.get_many(["a", "b", "missing"]), {"a": 1, "b": "two"})
    check((cache.delete("a"), cache.delete("a")), (True, False))
    check((cache.touch("b", 100), cache.has_key("b"), "a" in cache), (True, True, False))
    cache.set("versioned", "one", version=1)
    check((cache.incr_version("versioned"), cache.get("versioned"), cache.get("versioned", version=2)), (2, None, "one"))
    cache.set("soon", 1, 1)
    wait_until(lambda: cache.get("soon") is None)
    cache.set("gone", 1, 0)
    check(cache.get("gone"), None)
    cache.delete_many(["b", "doc"])
    check(cache.get_many(["b", "doc"]), {})
    cache.clear()
    check(cache.get("computed"), None)


def django_redis():
    common(caches["default"])


def django_redis_compressed():
    common(caches["compressed"])


def django_own():
    common(caches["own"])


def extensions():
    """What django-redis has beyond Django's interface."""
    cache = caches["default"]
    cache.clear()
    cache.set_many({f"key:{number}": number for number in range(100)}, timeout=None)
    check((cache.ttl("key:1"), cache.ttl("missing")), (None, 0))
    check((cache.expire("key:1", 50), 0 < cache.ttl("key:1") <= 50, 0 < cache.pttl("key:1") <= 50_000), (True, True, True))
    check((cache.persist("key:1"), cache.ttl("key:1")), (True, None))
    check(len(cache.keys("key:*")), 100)
    check(len(set(cache.iter_keys("key:1*", itersize=7))), 11)
    check((cache.delete_pattern("key:1*"), len(cache.keys("*"))), (11, 89))
    check((cache.set("once", 1, nx=True), cache.set("once", 2, nx=True), cache.get("once")), (True, False, 1))
    check((cache.sadd("tags", "a", "b"), cache.smembers("tags"), cache.sismember("tags", "a")), (2, {"a", "b"}, True))
    from django_redis import get_redis_connection

    check(get_redis_connection("default").ping(), True)


def locks():
    cache = caches["default"]
    cache.set("guarded", 0)

    def work():
        for _ in range(10):
            with cache.lock("lock", timeout=30, sleep=0.001):
                cache.set("guarded", cache.get("guarded") + 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    check(cache.get("guarded"), 40)


def herd():
    cache = caches["hashed"]
    check(cache.set("key", "value", 60), True)
    check(cache.get("key"), "value")
    check(cache.set_many({"a": 1, "b": 2}, 60), None)
    check(cache.get_many(["a", "b"]), {"a": 1, "b": 2})


def sessions():
    from django.test import Client

    ana, eva = Client(), Client()
    check([ana.get("/visits").json()["visits"] for _ in range(3)], [1, 2, 3])
    check(eva.get("/visits").json(), {"visits": 1})
    keys = caches["default"].keys("*sessions.cache*")
    check(len(keys), 2)
    before = ana.cookies["sessionid"].value
    check(ana.get("/login").json()["key"] != before, True)
    check((ana.get("/visits").json(), len(caches["default"].keys("*sessions.cache*"))), ({"visits": 4}, 2))
    ana.get("/logout")
    check((ana.get("/visits").json(), eva.get("/visits").json()), ({"visits": 1}, {"visits": 2}))


if __name__ == "__main__":
    run("django-redis", [django_redis, django_redis_compressed, django_own, extensions, locks, herd, sessions])
    finish()
