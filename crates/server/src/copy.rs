//! A copy of the data on its way to a client: what SYNC answers to `redis-cli --rdb`.
//!
//! ```text
//! $<length>␍␊ <snapshot>          a bulk string without its line end, as redis-server sends it
//! ```
//!
//! The copy lies in a file; a piece of it is in memory at a time. Disks are waited for on threads that may wait.

use std::io::{Read, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redpoll_store::Store;
use redpoll_store::commands::client::Client;
use redpoll_store::commands::session::CopyOf;
use redpoll_store::disk::ReadFile;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use crate::stream::Stream;

/// Bytes in memory at a time.
const PIECE_LEN: usize = 256 * 1024;

/// Makes a copy and sends it; false if the connection is to end.
pub(crate) async fn send(store: &Store, stream: &mut Stream, client: &Client, woken: &Arc<Notify>, of: CopyOf) -> bool {
    let mut sending = std::pin::pin!(make_and_send(store, stream, of));
    loop {
        tokio::select! {
            biased;
            sent = &mut sending => match sent {
                Ok(bytes) => {
                    store.engine().stats.totals.output_bytes.fetch_add(bytes, Ordering::Relaxed);
                    return true;
                }
                Err(error) => {
                    tracing::warn!(client = client.id, %error, "a copy of the data was not sent");
                    return false;
                }
            },
            // What else it was woken for is looked at when everything is sent.
            () = woken.notified() => if client.is_killed() { return false },
        }
    }
}

async fn make_and_send(store: &Store, stream: &mut Stream, of: CopyOf) -> Result<u64> {
    let maker = store.clone();
    let made = spawn_blocking(move || maker.copy(of)).await.map_err(std::io::Error::other)?;
    let (mut file, len) = match made {
        Ok(made) => made,
        Err(error) => {
            let line = format!("-ERR the data cannot be copied: {error}\r\n");
            stream.write_all(line.as_bytes()).await?;
            stream.flush().await?;
            return Err(std::io::Error::other(error.to_string()));
        }
    };
    let head = format!("${len}\r\n");
    stream.write_all(head.as_bytes()).await?;
    loop {
        let (read, piece) = spawn_blocking(move || read_piece(file)).await.map_err(std::io::Error::other)??;
        file = read;
        if piece.is_empty() {
            stream.flush().await?;
            return Ok(head.len() as u64 + len);
        }
        stream.write_all(&piece).await?;
    }
}

fn read_piece(mut file: Box<dyn ReadFile>) -> Result<(Box<dyn ReadFile>, Vec<u8>)> {
    let mut piece = Vec::new();
    file.by_ref().take(PIECE_LEN as u64).read_to_end(&mut piece)?;
    Ok((file, piece))
}
