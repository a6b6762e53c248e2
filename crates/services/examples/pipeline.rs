//! A pipeline: a picture is scaled to three sizes, each a job, and a sheet is made of them when all are there. One size fails at first and is tried again.
//!
//! `cargo run -p redpoll-services --example pipeline` uses a store in this process, `… -- redis://127.0.0.1:6379` another.

use std::time::Duration;

use redpoll_services::jobs::{NewJob, Payload, Queue, State, Which};
use redpoll_services::workers::{Context, Failure, Worker};
use redpoll_services::{Backend, Services, Settings, Tenant};
use serde::{Deserialize, Serialize};

/// Pixels of a side of the picture.
const SIDE: usize = 64;

/// What a job scales, and to how many pixels.
#[derive(Serialize, Deserialize)]
struct Scale {
    picture: String,
    side: usize,
}

/// What a job puts together: the jobs whose results it takes.
#[derive(Serialize, Deserialize)]
struct Sheet {
    parts: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "embedded:".to_owned());
    let services = Services::new(Backend::connect(&url).await?, Settings::default());
    let queue = services.jobs(&Tenant::new("example")?).queue("pictures")?;
    for state in [State::Waiting, State::Delayed, State::Blocked, State::Dead] {
        queue.clear(state, Which::All).await?;
    }

    // The sheet is blocked until all its parts are there; they are enqueued together, or none is.
    let sides = [32, 16, 8];
    let parts: Vec<String> = sides.iter().map(|side| format!("cat-{side}")).collect();
    let sheet =
        NewJob { id: Some("cat".to_owned()), ..NewJob::new("sheet", Payload::json(&Sheet { parts: parts.clone() })?) };
    let mut scales = Vec::new();
    for (part, side) in parts.iter().zip(sides) {
        let payload = Payload::json(&Scale { picture: "cat".to_owned(), side })?;
        let retry_base = Some(Duration::from_millis(20));
        scales.push(NewJob { id: Some(part.clone()), retry_base, ..NewJob::new("scale", payload) });
    }
    queue.enqueue_flow(&sheet, &scales).await?;

    let worker = Worker::new(queue.clone()).handle("scale", scale).handle("sheet", make_sheet).concurrency(4);
    let running = worker.start()?;
    let sheet = result_of(&queue, "cat").await?;
    println!("{}", String::from_utf8(sheet.as_bytes().to_vec())?);
    println!("{:?}", running.stop().await);
    Ok(())
}

/// Scales a picture; its pixels are the result, which stays as long as it is needed.
async fn scale(cx: Context) -> Result<Payload, Failure> {
    let Scale { picture, side } = cx.payload().parse()?;
    if side == 16 && cx.attempt() == 1 {
        return Err(Failure::new("the disk of pictures is busy"));
    }
    let step = SIDE / side;
    let pixels = (0..side * side).map(|place| pixel(&picture, place % side * step, place / side * step));
    println!("{picture} in {side} pixels");
    Ok(Payload::bytes(pixels.collect::<Vec<u8>>()))
}

/// Puts the parts together: the smallest of them as text.
async fn make_sheet(cx: Context) -> Result<Payload, Failure> {
    let Sheet { parts } = cx.payload().parse()?;
    let mut smallest: Option<Payload> = None;
    for part in &parts {
        let pixels = cx.queue().job(part).await?.result.ok_or_else(|| Failure::new("a part is gone"))?;
        println!("{part} has {} bytes", pixels.as_bytes().len());
        if smallest.as_ref().is_none_or(|one| pixels.as_bytes().len() < one.as_bytes().len()) {
            smallest = Some(pixels);
        }
    }
    let pixels = smallest.ok_or_else(|| Failure::give_up("a sheet of nothing"))?;
    let side = pixels.as_bytes().len().isqrt();
    let lines = pixels.as_bytes().chunks(side.max(1));
    let text = lines.map(|line| line.iter().map(|pixel| if *pixel > 127 { '#' } else { '.' }).collect::<String>());
    Ok(Payload::bytes(text.collect::<Vec<_>>().join("\n").into_bytes()))
}

/// The picture, which is a disc whatever its name.
fn pixel(_: &str, x: usize, y: usize) -> u8 {
    let far = |at: usize| at.abs_diff(SIDE / 2).pow(2);
    if far(x) + far(y) < (SIDE / 2 - 4).pow(2) { 255 } else { 0 }
}

/// Waits, for ten seconds at most, for what comes of a job.
async fn result_of(queue: &Queue, id: &str) -> anyhow::Result<Payload> {
    let found = async {
        loop {
            if let Some(result) = queue.job(id).await?.result {
                return anyhow::Ok(result);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found).await?
}
