//! `redpoll openapi`: the description of the HTTP API, as the server gives it at `/openapi.json` but for people to read.

use std::io::Write;

/// Prints the document.
pub(crate) fn print() -> anyhow::Result<()> {
    let document = serde_json::to_string_pretty(&redpoll_http::openapi_document())?;
    writeln!(std::io::stdout().lock(), "{document}")?;
    Ok(())
}
