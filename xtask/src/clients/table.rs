//! The clients and frameworks, one row each: what is installed, which script uses it, and for what.
//!
//! Versions are fixed here, so that a run next year is this year's run; the newest of the day is taken by changing a row.
//! Rows that share an environment would fight over versions of what they depend on, so each has its own. A row that is
//! quick is part of `ci`.

use super::{redis_benchmark, redis_cli, redis_rs};
use anyhow::Result;
use std::net::SocketAddr;

/// A client or framework and the way it is used.
pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) effort: Effort,
    pub(super) kind: Kind,
    /// What is done with it, for the page.
    pub(super) work: &'static str,
}

/// How long it takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// A few seconds, so `ci` runs it.
    Smoke,
    /// Longer, or needing more packages.
    Full,
}

/// What runs it.
pub(super) enum Kind {
    /// A program that is here, driven by a function.
    Own(fn(SocketAddr) -> Result<()>),
    /// Tests of ours, which start our server inside their process.
    Inside(fn() -> Result<()>),
    /// A script, and what it imports from PyPI.
    Python(&'static str, &'static [&'static str]),
    /// A script, and what it loads from npm.
    Node(&'static str, &'static [&'static str]),
    /// As [`Kind::Python`], the script starting and killing its server.
    PythonWithServer(&'static str, &'static [&'static str]),
    /// As [`Kind::Node`], the script starting and killing its server.
    NodeWithServer(&'static str, &'static [&'static str]),
    /// As [`Kind::NodeWithServer`], the script driving a browser at our HTTP.
    Browser(&'static str, &'static [&'static str]),
}
use Effort::{Full, Smoke};
use Kind::{Browser, Inside, Node, NodeWithServer, Own, Python, PythonWithServer};

const CELERY: &[&str] = &["celery[redis]==5.7.0", "celery-redbeat==2.4.2", "redis==8.1.0"];
const BULLMQ: &[&str] = &["bullmq@6.7.0", "ioredis@6.0.0"];

#[rustfmt::skip]
pub(super) const CLIENTS: &[Client] = &[
    Client { name: "redis-cli",         effort: Smoke, kind: Own(redis_cli::run), work: "lines as they are typed: data, keys, sessions, pipes, scripts, settings, --bigkeys, --latency" },
    Client { name: "redis-py",          effort: Smoke, kind: Python("redis_py.py", &["redis==8.1.0"]), work: "synchronous and asyncio, RESP2 and RESP3: types, pipelines, MULTI and WATCH, scripts, scans, pools, locks, lost connections" },
    Client { name: "redis-py-live",     effort: Full,  kind: Python("redis_py_live.py", &["redis==8.1.0"]), work: "what waits and what is sent unasked: pub/sub, client-side caching, blocking pops, streams and groups, keyspace notifications, on RESP2 and RESP3" },
    Client { name: "ioredis",           effort: Smoke, kind: Node("ioredis.mjs", &["ioredis@6.0.0"]), work: "RESP2 and RESP3: types, pipelines, transactions, scripts, auto-pipelining, scan streams, key prefixes, lost connections" },
    Client { name: "ioredis-live",      effort: Full,  kind: Node("ioredis_live.mjs", &["ioredis@6.0.0"]), work: "pub/sub and patterns, subscriptions after a lost connection, blocking pops, streams and groups, MONITOR, on RESP2 and RESP3" },
    Client { name: "node-redis",        effort: Full,  kind: Node("node_redis.mjs", &["redis@6.3.1"]), work: "RESP2 and RESP3: types, transactions, pools, scripts, functions, iterators, pub/sub with shard channels, streams, client-side cache" },
    Client { name: "redis-rs",          effort: Full,  kind: Inside(redis_rs), work: "the tests of this repository's server crate, which drive it with redis-rs" },
    Client { name: "redis-benchmark",   effort: Full,  kind: Own(redis_benchmark), work: "its default tests, with and without pipelining" },
    Client { name: "celery",            effort: Full,  kind: Python("celery_jobs.py", CELERY), work: "broker and result backend with a worker process: calls, results, retries, chains, groups, chords, chunks, revoke and terminate, remote control, events, priorities, warm shutdown" },
    Client { name: "celery-redbeat",    effort: Full,  kind: Python("celery_beat.py", CELERY), work: "schedule entries in Redis; two beats, one lock, the holder killed" },
    Client { name: "celery-crash",      effort: Full,  kind: PythonWithServer("celery_crash.py", CELERY), work: "worker killed in a task, server killed in the middle of 40 late-acknowledged tasks, server ended and started with tasks waiting" },
    Client { name: "kombu",             effort: Full,  kind: Python("kombu_messages.py", &["kombu[redis]==5.7.0", "redis==8.1.0"]), work: "direct, topic and fanout exchanges, acknowledge, requeue, reject, redelivery, priorities, simple queues" },
    Client { name: "rq",                effort: Full,  kind: Python("rq_jobs.py", &["rq==3.0.0", "redis==8.1.0"]), work: "worker with scheduler: jobs, results, failures, retries, callbacks, dependencies, delays, repeats, stop and kill commands, a killed worker" },
    Client { name: "dramatiq",          effort: Full,  kind: Python("dramatiq_jobs.py", &["dramatiq[redis]==2.2.1", "redis==8.1.0"]), work: "worker: calls, delays, retries, dead letters, results, groups, pipelines, rate limiters, a killed worker" },
    Client { name: "arq",               effort: Full,  kind: Python("arq_jobs.py", &["arq==0.28.0", "redis==5.3.1"]), work: "worker: calls, delays, unique jobs, retries, abort, cron, a killed worker" },
    Client { name: "huey",              effort: Full,  kind: Python("huey_jobs.py", &["huey==3.5.4", "redis==8.1.0"]), work: "consumer on three storages: calls, maps, delays, retries, pipelines, revoke, locks, priorities" },
    Client { name: "saq",               effort: Full,  kind: Python("saq_jobs.py", &["saq[redis]==0.26.4", "redis==7.4.1", "typing_extensions==4.16.0"]), work: "worker: calls, maps, delays, unique jobs, retries, abort, cron" },
    Client { name: "taskiq",            effort: Full,  kind: Python("taskiq_jobs.py", &["taskiq==0.13.0", "taskiq-redis==1.2.4", "redis==8.1.0"]), work: "workers on stream, list and pub/sub brokers, results, schedules" },
    Client { name: "streaq",            effort: Full,  kind: Python("streaq_jobs.py", &["streaq==7.2.0", "coredis==6.9.0"]), work: "worker whose steps are a function library: calls, bulk, delays, chains, retries, cron, abort, a killed worker" },
    Client { name: "docket",            effort: Full,  kind: Python("docket_jobs.py", &["pydocket==0.27.0", "redis==8.1.0"]), work: "worker on streams: calls, delays, keys, replacing, cancelling, retries, perpetual tasks, a killed worker" },
    Client { name: "bullmq",            effort: Full,  kind: Node("bullmq_jobs.mjs", BULLMQ), work: "jobs in bulk, delays, retries with backoff, priorities, pause, rate limits, deduplication, schedulers, flows, waiting for children, metrics, events, a killed worker" },
    Client { name: "bullmq-crash",      effort: Full,  kind: NodeWithServer("bullmq_crash.mjs", BULLMQ), work: "347 jobs (plain, delayed, ranked, a flow), server killed in the middle, then the worker, then a clean restart" },
    Client { name: "browser",           effort: Full,  kind: Browser("browser_feeds.mjs", &["puppeteer-core@24.36.0"]), work: "Chromium: EventSource and WebSocket on channels, patterns, topics and events of jobs; back at a topic after the server was killed; a page of another origin" },
    Client { name: "bull",              effort: Full,  kind: Node("older_queues.mjs", &["bull@4.16.5", "bee-queue@2.0.0"]), work: "Bull and Bee-Queue: jobs in bulk, delays, retries, repeats, rate limit, progress, events, cleaning" },
    Client { name: "flask-session",     effort: Full,  kind: Python("flask_sessions.py", &["Flask-Session==0.8.0", "flask==3.1.3", "redis==8.1.0"]), work: "sessions of an application: create, read, regenerate at login, clear, expire, both formats" },
    Client { name: "django-redis",      effort: Full,  kind: Python("django_cache.py", &["django-redis==7.0.0", "django==5.2.19", "redis==8.1.0"]), work: "django-redis and Django's own cache: the cache interface, TTLs, patterns, compression, herd client, locks, sessions of an application" },
    Client { name: "fastapi-cache2",    effort: Full,  kind: Python("fastapi_cache_routes.py", &["fastapi-cache2[redis]==0.2.2", "fastapi==0.165.0", "httpx==0.28.1", "jinja2==3.1.6", "redis==4.6.0"]), work: "cached routes and functions: hits, ETags, expiry, clearing a namespace" },
    Client { name: "cashews",           effort: Full,  kind: Python("async_caches.py", &["cashews==7.6.0", "aiocache==0.12.3", "redis==8.1.0"]), work: "decorators, tags, one call for many, rate limit, scans, locks, the client-side cache of two processes; aiocache" },
    Client { name: "connect-redis",     effort: Full,  kind: Node("web_sessions.mjs", &["connect-redis@9.0.0", "express@5.3.0", "express-session@1.19.0", "express-rate-limit@8.7.4", "rate-limit-redis@6.0.1", "redis@6.3.1"]), work: "sessions of an Express application, the store's listing and touching; rate-limit-redis on a route" },
    Client { name: "rate-limiters",     effort: Full,  kind: Node("rate_limiters.mjs", &["rate-limiter-flexible@11.4.0", "@sesamecare-oss/redlock@1.4.0", "ioredis@6.0.0", "redis@6.3.1"]), work: "rate-limiter-flexible on ioredis and node-redis: consume, block, penalty, burst, union; redlock: exclusion, several resources, extension" },
    Client { name: "locks-and-limits",  effort: Full,  kind: Python("locks_and_limits.py", &["redlock-py==1.0.8", "pottery==3.0.1", "limits==5.8.0", "redis==8.1.0"]), work: "redlock-py on three databases, pottery's locks, caches and collections, limits with three strategies" },
    Client { name: "socket.io",         effort: Full,  kind: Node("socket_io.mjs", &["socket.io@4.8.4", "socket.io-client@4.8.4", "@socket.io/redis-adapter@8.3.0", "@socket.io/redis-streams-adapter@0.3.1", "redis@6.3.1"]), work: "two servers on the pub/sub, sharded and streams adapters: broadcasts with binary data, rooms, acknowledgements, calls between servers, remote disconnect" },
    Client { name: "channels-redis",    effort: Full,  kind: Python("channels_layers.py", &["channels-redis==4.3.0", "channels==4.3.2", "redis==8.1.0"]), work: "both layers of Django Channels: direct messages, groups, capacity" },
    Client { name: "keyv",              effort: Full,  kind: Node("caches.mjs", &["keyv@5.6.0", "@keyv/redis@5.1.6", "cache-manager@7.2.9"]), work: "Keyv with namespaces, iteration and clearing; cache-manager with wrap and TTLs" },
    Client { name: "redis-om",          effort: Full,  kind: Python("redis_om_models.py", &["redis-om==1.2.0", "redis==8.1.0"]), work: "hash models without the search module: save, read, update, expire, delete" },
];
