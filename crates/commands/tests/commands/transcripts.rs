//! Every transcript of this folder, run in this process; `cargo xtask oracle` runs the same files on a real redis-server.

use crate::support;

#[test]
fn every_transcript_holds() {
    redpoll_testkit::transcript::run_folder(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"), support::InProcess::new);
}
