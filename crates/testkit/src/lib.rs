//! Test equipment: oracles, transcripts, generators and checkers.
//!
//! A store that claims to speak the Redis protocol is only as good as what it is compared with, so most of this
//! crate is about comparing. It knows four ways to do so:
//!
//! - [`transcript`]: a text file of commands and the replies a real server was seen to give, run against anything
//!   that implements [`Target`]: an embedded store, our server over TCP, or redis-server itself.
//! - [`differential`]: a seeded stream of random commands sent to two targets whose replies and final contents must
//!   be equal.
//! - [`linear`]: a checker that decides whether the history of concurrent operations on one key could have happened
//!   one after another.
//! - the real thing: [`RedisServer`] and [`RedisCluster`] start redis-server, [`Program`] starts our own binary, each
//!   in a directory of its own on a free port, and take it down again; [`RedisSentinel`] starts a group with a sentinel.
//!
//! Between a client and any of them a [`Proxy`] can be put, which delays, goes silent, cuts and refuses.
//!
//! What is absent on purpose: any of our other crates. The client, the reply type and its parser are written anew
//! here, because a wire error made twice by the same code would compare equal. Nothing here ships to users.

pub mod differential;
pub mod linear;
pub mod transcript;

mod client;
mod program;
mod proxy;
mod random;
mod redis;
mod reply;
mod scratch;
mod sentinel;

pub use client::{Client, Protocol, Target, command};
pub use program::{Launch, Program};
pub use proxy::{Mode, Proxy};
pub use random::Random;
pub use redis::{RedisCluster, RedisServer};
pub use reply::Reply;
pub use scratch::Scratch;
pub use sentinel::{RedisSentinel, SERVICE as SENTINEL_SERVICE};
