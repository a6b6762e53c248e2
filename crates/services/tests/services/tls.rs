//! A store that is reached by TLS: redis-server with certificates made for the occasion.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use redpoll_services::{Backend, BackendConfig, Command, Error, TlsFiles};
use redpoll_testkit::{RedisServer, Scratch};

/// Writes `ca.crt`, and `name.crt` and `name.key` for a server and a client.
fn files(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.crt"), authority.pem()).unwrap();
    for name in ["server", "client"] {
        let params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let key = KeyPair::generate().unwrap();
        std::fs::write(dir.join(format!("{name}.crt")), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// Starts a server that asks clients for certificates; returns it and the URL with TLS.
fn server(file: &dyn Fn(&str) -> PathBuf) -> (RedisServer, String) {
    let path = |name: &str| file(name).display().to_string();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (certificate, key, authority) = (path("server.crt"), path("server.key"), path("ca.crt"));
    let args = ["--tls-port", &free, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    let args = [&args[..], &["--tls-ca-cert-file", &authority, "--tls-auth-clients", "yes"]].concat();
    let server = RedisServer::start_with(&args).unwrap();
    (server, format!("rediss://localhost:{free}"))
}

#[tokio::test]
async fn certificates_are_checked_on_both_sides() {
    let dir = Scratch::new().unwrap();
    files(dir.path());
    let file = |name: &str| dir.path().join(name);
    let (_server, url) = server(&file);
    let client = Some((file("client.crt"), file("client.key")));
    let with = |tls: TlsFiles| BackendConfig { tls, ..BackendConfig::default() };
    let good = with(TlsFiles { ca_certs: Some(file("ca.crt")), client: client.clone() });
    let backend = Backend::connect_with(&url, good.clone()).await.unwrap();
    backend.call(Command::new("SET").key("k").arg("v")).await.unwrap();
    assert_eq!(backend.call(Command::new("GET").key("k")).await.unwrap().as_bytes(), Some(&b"v"[..]));
    let strange = [
        with(TlsFiles { ca_certs: None, client: client.clone() }),
        with(TlsFiles { ca_certs: Some(file("ca.crt")), client: None }),
    ];
    for config in strange {
        let error = Backend::connect_with(&url, config.clone()).await.map(drop).unwrap_err();
        assert!(!matches!(error, Error::InvalidInput { .. }), "{config:?}: {error}");
    }
    let missing = with(TlsFiles { ca_certs: Some(file("missing")), client });
    let error = Backend::connect_lazily(&url, missing).map(drop).unwrap_err();
    assert!(matches!(error, Error::InvalidInput { field: "tls", .. }), "{error}");
    // A cluster is reached in the same way; that this server is none is found only when it is asked.
    assert!(Backend::connect_lazily(&url.replace("rediss", "rediss+cluster"), good).is_ok());
}
