"""Kombu on its Redis transport: direct, topic and fanout exchanges, acknowledgement, priorities, simple queues."""

import socket

from kombu import Connection, Consumer, Exchange, Producer, Queue

from checks import PATIENCE_S, check, finish, run, url, wait_until


def open_connection(**options):
    return Connection(url(), transport_options={"visibility_timeout": 1, "polling_interval": 0.05, **options})


def drain(connection, queues, count):
    """Takes messages from queues until there are so many, and acknowledges them."""
    bodies = []

    def take(body, message):
        bodies.append(body)
        message.ack()

    with Consumer(connection, queues, callbacks=[take], accept=["json", "text/plain"]):
        while len(bodies) < count:
            connection.drain_events(timeout=PATIENCE_S)
    return bodies


def exchanges():
    direct, topic = Exchange("direct", "direct"), Exchange("topic", "topic")
    mail = Queue("mail", direct, routing_key="mail")
    errors, all_logs = Queue("errors", topic, routing_key="*.error"), Queue("logs", topic, routing_key="#")
    with open_connection() as connection:
        for queue in (mail, errors, all_logs):
            queue(connection).declare()
        with Producer(connection) as producer:
            for number in range(20):
                producer.publish({"number": number}, exchange=direct, routing_key="mail")
            producer.publish("bad", exchange=topic, routing_key="web.error")
            producer.publish("fine", exchange=topic, routing_key="web.info")
        check(drain(connection, [mail], 20), [{"number": number} for number in range(20)])
        check(drain(connection, [errors], 1), ["bad"])
        check(drain(connection, [all_logs], 2), ["bad", "fine"])
        mail(connection).delete()


def fanout():
    exchange = Exchange("news", "fanout")
    with open_connection(fanout_prefix=True) as one, open_connection(fanout_prefix=True) as two, open_connection() as sender:
        seen = {1: [], 2: []}

        def reader(number):
            return lambda body, message: (seen[number].append(body), message.ack())

        def heard(connection, bodies, word):
            # A subscription is sent with the first look for messages; what comes before is not heard.
            producer.publish("hello", exchange=exchange, declare=[exchange])
            try:
                connection.drain_events(timeout=0.1)
            except socket.timeout:
                pass
            return word in bodies

        with (
            Consumer(one, [Queue("", exchange, exclusive=True)], callbacks=[reader(1)], accept=["json", "text/plain"]),
            Consumer(two, [Queue("", exchange, exclusive=True)], callbacks=[reader(2)], accept=["json", "text/plain"]),
            Producer(sender) as producer,
        ):
            for connection, number in ((one, 1), (two, 2)):
                wait_until(lambda: heard(connection, seen[number], "hello"))
            producer.publish("last", exchange=exchange)
            for connection, number in ((one, 1), (two, 2)):
                wait_until(lambda: heard(connection, seen[number], "last"))
        check((set(seen[1]), set(seen[2])), ({"hello", "last"}, {"hello", "last"}))


def acknowledgement():
    queue = Queue("work", Exchange("work"), routing_key="work")
    with open_connection() as connection:
        queue(connection).declare()
        Producer(connection).publish("job", exchange=queue.exchange, routing_key="work")
        message = queue(connection).get()
        check((message.payload, queue(connection).get()), ("job", None))
        message.requeue()
        message = queue(connection).get()
        check(message.payload, "job")
        message.reject()
        check(queue(connection).get(), None)
        Producer(connection).publish("again", exchange=queue.exchange, routing_key="work")
        check(queue(connection).get().payload, "again")
    # The connection ended without an acknowledgement: the message is there for the next.
    with open_connection() as connection:
        message = queue(connection).get()
        check((message.payload, message.delivery_info.get("redelivered", True)), ("again", True))
        message.ack()


def priorities():
    queue = Queue("ranked", Exchange("ranked"), routing_key="ranked", max_priority=9)
    with open_connection(priority_steps=list(range(10)), queue_order_strategy="priority") as connection:
        queue(connection).declare()
        with Producer(connection) as producer:
            for priority in (9, 0, 5):
                producer.publish(priority, exchange=queue.exchange, routing_key="ranked", priority=priority)
        check(drain(connection, [queue], 3), [0, 5, 9])


def simple_queues():
    with open_connection() as connection, connection.SimpleQueue("simple") as queue:
        for number in range(5):
            queue.put({"number": number}, compression="zlib")
        check(queue.qsize(), 5)
        for number in range(5):
            message = queue.get(timeout=PATIENCE_S)
            message.ack()
            check(message.payload, {"number": number})
        queue.put("rest")
        check(queue.clear(), 1)


run("kombu", [exchanges, fanout, acknowledgement, priorities, simple_queues])
finish()
