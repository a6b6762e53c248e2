//! TLS on the way to a store elsewhere: `rediss://` and `rediss+cluster://`.
//!
//! The client library speaks it by rustls; here the files are read and the cryptography is chosen. Certificates of servers are always checked, their
//! names too: there is no way to switch that off.

use std::path::Path;

use redis::{ClientTlsConfig, TlsCertificates};

use super::config::TlsFiles;
use crate::error::{Error, Result};

/// Reads the files; an error names the one that cannot be read.
pub(super) fn certificates(files: &TlsFiles) -> Result<TlsCertificates> {
    // The library takes the one that the process has settled for; whoever embeds this may have done so before.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client_tls = match &files.client {
        None => None,
        Some((certificate, key)) => Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? }),
    };
    let root_cert = files.ca_certs.as_deref().map(read).transpose()?;
    Ok(TlsCertificates { client_tls, root_cert })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::invalid("tls", format_args!("{}: {error}", path.display())))
}
