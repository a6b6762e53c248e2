//! TLS: the server's certificate, and whose clients' certificates are asked for.
//!
//! The protocol is rustls's, versions 1.2 and 1.3, with its own choice of ciphers. Files are read when the server starts, and when `tls-port` is changed. Redis's
//! options for ciphers, protocol versions, session caches and a directory of authorities have no counterpart.

use std::sync::Arc;

use redpoll_store::commands::settings::{Setting, Settings};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore};

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    No,
    /// They must show one of an authority the server trusts.
    #[default]
    Required,
    /// They may; one that is shown must be good.
    Optional,
}

/// Where to listen with TLS, and with what files. All files are PEM.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    /// TCP port; 0 for a free one.
    pub port: u16,
    /// The server's certificate, followed by those between it and its authority.
    pub cert_file: String,
    /// The key of the server's certificate.
    pub key_file: String,
    /// The authorities whose clients are trusted; empty if none is asked for.
    pub ca_cert_file: String,
    /// Whether clients must show a certificate.
    pub clients: ClientCertificates,
}

impl TlsConfig {
    /// Reads what the settings say; nothing if there is no port for it.
    pub fn of(settings: &Settings) -> Option<TlsConfig> {
        let port = u16::try_from(settings.int(Setting::TlsPort)).ok().filter(|port| *port != 0)?;
        let clients = match settings.text(Setting::TlsAuthClients).as_str() {
            "no" => ClientCertificates::No,
            "optional" => ClientCertificates::Optional,
            _ => ClientCertificates::Required,
        };
        Some(TlsConfig {
            port,
            cert_file: settings.text(Setting::TlsCertFile),
            key_file: settings.text(Setting::TlsKeyFile),
            ca_cert_file: settings.text(Setting::TlsCaCertFile),
            clients,
        })
    }
}

/// Reads the files and makes what greets clients; the error says which file is wrong.
pub(crate) fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&config.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&config.key_file).map_err(|error| blame(&config.key_file, &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match config.clients {
        ClientCertificates::No => builder.with_no_client_auth(),
        ClientCertificates::Required | ClientCertificates::Optional => {
            if config.ca_cert_file.is_empty() {
                return Err("tls-ca-cert-file must be given when tls-auth-clients is not 'no'".into());
            }
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&config.ca_cert_file)? {
                roots.add(certificate).map_err(|error| blame(&config.ca_cert_file, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match config.clients {
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| blame(&config.ca_cert_file, &error))?)
        }
    };
    let server: Result<ServerConfig, rustls::Error> = builder.with_single_cert(chain, key);
    Ok(TlsAcceptor::from(Arc::new(server.map_err(|error| blame(&config.cert_file, &error))?)))
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = certificates.map_err(|error| blame(path, &error))?;
    if certificates.is_empty() { Err(format!("'{path}': there is no certificate in it")) } else { Ok(certificates) }
}

fn blame(path: &str, error: &dyn std::fmt::Display) -> String {
    format!("'{path}': {error}")
}
