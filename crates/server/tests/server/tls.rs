//! TLS as clients meet it: redis-cli and raw sockets, with certificates made for the occasion.

use crate::support;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use redpoll_server::{ClientCertificates, Error, Server, ServerConfig, TlsConfig};
use redpoll_store::{Config, Store};
use redpoll_testkit::Scratch;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("keys can be made")).expect("it signs itself")
}

/// Writes a certificate and its key as `<name>.crt` and `<name>.key`.
fn issue(dir: &Path, name: &str, authority: &Authority, purpose: ExtendedKeyUsagePurpose) {
    let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("the names are good");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().expect("keys can be made");
    let certificate = params.signed_by(&key, authority).expect("the authority signs");
    std::fs::write(dir.join(format!("{name}.crt")), certificate.pem()).expect("the directory is ours");
    std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("the directory is ours");
}

/// Files of an authority, a server, a client, and a client that somebody else vouches for.
fn files() -> Scratch {
    let dir = Scratch::new().expect("a directory can be made");
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    std::fs::write(dir.path().join("ca.crt"), ours.pem()).expect("the directory is ours");
    issue(dir.path(), "server", &ours, ExtendedKeyUsagePurpose::ServerAuth);
    issue(dir.path(), "client", &ours, ExtendedKeyUsagePurpose::ClientAuth);
    issue(dir.path(), "stranger", &theirs, ExtendedKeyUsagePurpose::ClientAuth);
    dir
}

fn config(dir: &Scratch, clients: ClientCertificates) -> ServerConfig {
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (cert_file, key_file, ca_cert_file) = (file("server.crt"), file("server.key"), file("ca.crt"));
    let tls = TlsConfig { port: 0, cert_file, key_file, ca_cert_file, clients };
    ServerConfig { port: 0, workers: 1, tls: Some(tls), ..ServerConfig::default() }
}

fn start(config: &ServerConfig) -> Result<Server, Error> {
    Server::start(Store::open(Config::in_memory()).expect("a store without a log opens"), config)
}

/// Runs redis-cli with a client's certificate, if one is named; its output or its complaint.
fn redis_cli(dir: &Scratch, address: SocketAddr, client: Option<&str>, args: &[&str]) -> Result<String, String> {
    let file = |name: &str| dir.path().join(name).display().to_string();
    let mut command = Command::new("redis-cli");
    command.args(["--tls", "-p", &address.port().to_string(), "--cacert", &file("ca.crt")]);
    if let Some(name) = client {
        command.args(["--cert", &file(&format!("{name}.crt")), "--key", &file(&format!("{name}.key"))]);
    }
    let output = command.args(args).output().expect("redis-cli is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() && err.is_empty() { Ok(out) } else { Err(format!("{out}{err}")) }
}

#[test]
fn redis_cli_speaks_with_the_server() {
    let dir = files();
    let server = start(&config(&dir, ClientCertificates::No)).expect("the files are good");
    let (tls, plain) = (server.tls_addresses()[0], server.addresses()[0]);
    assert_eq!(redis_cli(&dir, tls, None, &["PING"]), Ok("PONG".into()));
    // More than fits into any buffer, both ways.
    let long = "x".repeat(100_000);
    assert_eq!(redis_cli(&dir, tls, None, &["SET", "key", &long]), Ok("OK".into()));
    for _ in 0..6 {
        redis_cli(&dir, tls, None, &["EVAL", "redis.call('APPEND', 'key', redis.call('GET', 'key')) return 1", "0"])
            .unwrap();
    }
    assert_eq!(redis_cli(&dir, tls, None, &["GET", "key"]).map(|text| text.len()), Ok(6_400_000));
    // Both doors lead to the same store.
    support::Raw::connect(plain).call("STRLEN key", ":6400000");
}

#[test]
fn certificates_of_clients_are_asked_for_as_the_setting_says() {
    let dir = files();
    let cases = [
        (ClientCertificates::No, [true, true, true]),
        (ClientCertificates::Optional, [true, true, false]),
        (ClientCertificates::Required, [false, true, false]),
    ];
    for (clients, expected) in cases {
        let server = start(&config(&dir, clients)).expect("the files are good");
        let address = server.tls_addresses()[0];
        let admitted = [None, Some("client"), Some("stranger")]
            .map(|client| redis_cli(&dir, address, client, &["PING"]) == Ok("PONG".into()));
        assert_eq!(admitted, expected, "{clients:?}: without, with a good one, with a stranger's");
    }
}

#[test]
fn who_does_not_speak_tls_gets_no_further_than_the_door() {
    let dir = files();
    let server =
        start(&ServerConfig { plain: false, ..config(&dir, ClientCertificates::No) }).expect("the files are good");
    assert!(server.addresses().is_empty());
    for greeting in [&b"PING\r\n"[..], b"*1\r\n$4\r\nPING\r\n", b"\x16\x03\x01\xff\xff", b"\x00"] {
        let mut raw = support::Raw::connect(server.tls_addresses()[0]);
        raw.send(greeting);
        raw.0.shutdown(std::net::Shutdown::Write).expect("it is connected");
        let received = raw.until_closed();
        assert!(!received.windows(4).any(|window| window == b"PONG"), "{received:?}");
    }
    // One that says nothing keeps nobody from being served.
    let mut silent = TcpStream::connect(server.tls_addresses()[0]).expect("the server listens");
    assert_eq!(redis_cli(&dir, server.tls_addresses()[0], None, &["PING"]), Ok("PONG".into()));
    drop(server);
    assert!(silent.read(&mut [0]).is_ok_and(|count| count == 0));
}

#[test]
fn wrong_files_are_named() {
    let dir = files();
    let good = config(&dir, ClientCertificates::Required);
    let change = |change: &dyn Fn(&mut TlsConfig)| {
        let mut config = good.clone();
        change(config.tls.as_mut().expect("it is there"));
        match start(&config) {
            Ok(_) => panic!("the files are wrong"),
            Err(error) => error.to_string(),
        }
    };
    let missing = dir.path().join("missing").display().to_string();
    assert!(change(&|tls| tls.cert_file.clone_from(&missing)).contains("missing"));
    assert!(change(&|tls| tls.key_file.clone_from(&missing)).contains("missing"));
    assert!(change(&|tls| tls.ca_cert_file.clear()).contains("tls-ca-cert-file"));
    assert!(change(&|tls| tls.cert_file.clone_from(&tls.key_file.clone())).contains("no certificate"));
    assert!(change(&|tls| tls.key_file = tls.key_file.replace("server", "client")).contains("server.crt"));
}
