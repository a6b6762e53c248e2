"""Flask-Session: server-side sessions of an application, through its test client."""

import redis
from flask import Flask, session
from flask_session import Session

from checks import check, finish, run, url, wait_until

store = redis.Redis.from_url(url())


def application(**config):
    app = Flask("shop")
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=store, SECRET_KEY="key", **config)
    Session(app)

    @app.get("/add/<item>")
    def add(item):
        session.setdefault("cart", []).append(item)
        session.modified = True
        return session["cart"]

    @app.get("/cart")
    def cart():
        return session.get("cart", [])

    @app.get("/login")
    def login():
        app.session_interface.regenerate(session)
        session["user"] = "ana"
        return session.sid

    @app.get("/logout")
    def logout():
        session.clear()
        return "bye"

    return app


def sessions():
    app = application()
    ana, eva = app.test_client(), app.test_client()
    check((ana.get("/add/tea").json, ana.get("/add/pot").json, eva.get("/add/cup").json), (["tea"], ["tea", "pot"], ["cup"]))
    check((ana.get("/cart").json, eva.get("/cart").json), (["tea", "pot"], ["cup"]))
    keys = store.keys("session:*")
    check((len(keys), all(0 < store.ttl(key) <= 31 * 86_400 for key in keys)), (2, True))
    check(app.test_client().get("/cart").json, [])


def logging_in_and_out():
    app = application(SESSION_KEY_PREFIX="shop:")
    ana = app.test_client()
    ana.get("/add/tea")
    before = store.keys("shop:*")
    sid = ana.get("/login").text
    check((store.keys("shop:*"), before == [f"shop:{sid}".encode()]), ([f"shop:{sid}".encode()], False))
    check(ana.get("/cart").json, ["tea"])
    ana.get("/logout")
    check((store.keys("shop:*"), ana.get("/cart").json), ([], []))


def expiry():
    ana = application(PERMANENT_SESSION_LIFETIME=1, SESSION_KEY_PREFIX="short:").test_client()
    check(ana.get("/add/tea").json, ["tea"])
    wait_until(lambda: not store.keys("short:*"))
    check(ana.get("/cart").json, [])


def formats():
    for form in ("msgpack", "json"):
        ana = application(SESSION_SERIALIZATION_FORMAT=form, SESSION_KEY_PREFIX=f"{form}:").test_client()
        ana.get("/add/tea")
        check(ana.get("/cart").json, ["tea"])
        check(store.get(store.keys(f"{form}:*")[0])[:1] == b"{", form == "json")


run("Flask-Session", [sessions, logging_in_and_out, expiry, formats])
finish()
