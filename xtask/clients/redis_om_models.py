"""redis-om: hash models without the search module: save, read, update, expire, delete."""

from redis_om import Field, HashModel, NotFoundError, get_redis_connection

from checks import check, check_error, finish, run, url


class Customer(HashModel, index=True):
    name: str
    age: int = 0
    email: str | None = Field(default=None)

    class Meta:
        database = get_redis_connection(url=url(), decode_responses=True)
        global_key_prefix = "shop"


def models():
    ana = Customer(name="Ana", age=30, email="ana@example.org")
    ana.save()
    found = Customer.get(ana.pk)
    check((found.name, found.age, found.email), ("Ana", 30, "ana@example.org"))
    found.update(age=31)
    check(Customer.get(ana.pk).age, 31)
    found.expire(60)
    check(0 < Customer.db().ttl(ana.key()) <= 60, True)
    check(sorted(Customer.all_pks()), [ana.pk])
    check(Customer.delete(ana.pk), 1)
    check_error(lambda: Customer.get(ana.pk), "", NotFoundError)


run("redis-om", [models])
finish()
