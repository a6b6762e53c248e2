//! Processor time per command where replies decide what is sent next: work handed from client to client.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use redpoll_testkit::{Client, Reply, Target, command};

use crate::pair::{Pair, VALUE};

/// Two clients each that play with one another.
const PLAYERS: usize = 16;

/// Clients that work on one stream each.
const WORKERS: usize = 8;

/// Commands in flight per client.
const BATCH: u64 = 16;

/// What Redpoll's time may be in units of redis-server's.
const GOAL: f64 = 0.7;

pub(crate) fn run(pair: &Pair, commands: u64, only: &str) -> Result<()> {
    if "BLPOP_HANDOFF".contains(only) {
        for batch in [1, BATCH] {
            let count = if batch == 1 { commands / 20 } else { commands / 4 };
            let rounds = count / (4 * PLAYERS as u64 * batch);
            pair.row("BLPOP_HANDOFF", batch, GOAL, rounds * 4 * PLAYERS as u64 * batch, |port| {
                in_parallel(PLAYERS, port, |address, name| play(address, name, rounds, batch as usize))
            })?;
        }
    }
    if "XREADGROUP_ACK".contains(only) {
        let rounds = commands / 10 / (3 * BATCH * WORKERS as u64);
        pair.row("XREADGROUP_ACK", BATCH, GOAL, rounds * 3 * BATCH * WORKERS as u64, |port| {
            in_parallel(WORKERS, port, |address, name| work(address, name, rounds))
        })?;
    }
    Ok(())
}

fn in_parallel(count: usize, port: u16, load: impl Fn(SocketAddr, usize) -> Result<()> + Sync) -> Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|name| {
                scope.spawn({
                    let load = &load;
                    move || load(address, name)
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a load does not panic"))
    })
}

/// Hands elements to a client that waits for that many, one command each, and waits for as many answers: four commands an element.
fn play(address: SocketAddr, name: usize, rounds: u64, batch: usize) -> Result<()> {
    let all = |line: String| vec![command(&line); batch];
    let (serve, answer) = (all(format!("RPUSH there:{name} {VALUE}")), all(format!("RPUSH back:{name} {VALUE}")));
    let (wait_there, wait_back) = (all(format!("BLPOP there:{name} 60")), all(format!("BLPOP back:{name} 60")));
    let mut partner = Client::connect(address)?;
    let mut player = Client::connect(address)?;
    let came = |replies: &[Reply]| replies.iter().all(|reply| reply.as_slice().is_some());
    std::thread::scope(|scope| {
        let partner = scope.spawn(move || -> Result<()> {
            for _ in 0..rounds {
                ensure!(came(&partner.pipeline(&wait_there)), "nothing came");
                partner.pipeline(&answer);
            }
            Ok(())
        });
        for _ in 0..rounds {
            player.pipeline(&serve);
            ensure!(came(&player.pipeline(&wait_back)), "no answer came");
        }
        partner.join().expect("a partner does not panic")
    })
}

/// Adds entries to a stream, reads them as a group's consumer and acknowledges each: three commands an entry.
fn work(address: SocketAddr, name: usize, rounds: u64) -> Result<()> {
    let stream = format!("stream:{name}");
    let mut client = Client::connect(address)?;
    client.run(&format!("DEL {stream}"));
    client.run(&format!("XGROUP CREATE {stream} group 0 MKSTREAM"));
    let add = vec![command(&format!("XADD {stream} MAXLEN ~ 1000 * field {VALUE}")); BATCH as usize];
    let read = vec![command(&format!("XREADGROUP GROUP group me COUNT 1 STREAMS {stream} >")); BATCH as usize];
    for _ in 0..rounds {
        let ids = client.pipeline(&add);
        let got = client.pipeline(&read);
        ensure!(got.iter().all(|reply| reply.as_slice().is_some()), "an entry was not read");
        let acks: Vec<_> = ids
            .iter()
            .filter_map(Reply::as_bytes)
            .map(|id| [command(&format!("XACK {stream} group")), vec![id.to_vec()]].concat())
            .collect();
        let acked = client.pipeline(&acks);
        ensure!(
            acked.len() as u64 == BATCH && acked.iter().all(|reply| reply.as_integer() == Some(1)),
            "not acknowledged"
        );
    }
    Ok(())
}
