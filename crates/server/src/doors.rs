//! The doors: the sockets where clients come in, which CONFIG SET may move while the server runs.
//!
//! A door that is wanted where it is stays open. New ones are opened first, and only when all are open the others are closed: a port that is taken leaves
//! everything as it was. Connections have nothing to do any more with the door they came through.
//!
//! The wildcard address of a port includes all others, and the system refuses it while one of them is listened on. So such doors share their port for
//! the moment between opening and closing.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Weak};

use redpoll_store::commands::engine::Listener;
use redpoll_store::commands::settings::{Setting, Settings};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::guest::Entrance;
use crate::listener::{Balance, Error};
use crate::tls::{self, TlsConfig};
use crate::unix::UnixDoor;

/// All doors of a server.
pub(crate) struct Doors {
    balance: Arc<Balance>,
    backlog: i32,
    open: std::sync::Mutex<Vec<Door>>,
    /// The Unix socket, which stays where it is.
    _unix: Option<(UnixDoor, watch::Sender<()>)>,
}

/// One of them.
struct Door {
    address: SocketAddr,
    is_tls: bool,
    /// The socket, which another handle accepts from.
    socket: TcpListener,
    /// Without it nothing is accepted any more.
    _accepting: watch::Sender<()>,
}

/// A socket that listens but is not accepted from yet.
pub(crate) struct Opened {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsAcceptor>,
}

impl Doors {
    /// Accepts connections from these sockets.
    pub(crate) fn new(
        balance: Balance,
        backlog: i32,
        opened: Vec<Opened>,
        unix: Option<UnixDoor>,
    ) -> Result<Arc<Doors>, Error> {
        let (balance, (accepting, closed)) = (Arc::new(balance), watch::channel(()));
        if let Some(unix) = &unix {
            balance.spare().accept_from(Entrance::Unix(unix.listener()?), Arc::clone(&balance), None, closed);
        }
        let unix = unix.map(|unix| (unix, accepting));
        let doors = Doors { balance, backlog, open: std::sync::Mutex::default(), _unix: unix };
        let open = opened.into_iter().map(|opened| doors.accept(opened)).collect::<Result<Vec<Door>, Error>>()?;
        *doors.lock() = open;
        Ok(Arc::new(doors))
    }

    /// What CONFIG SET moves the doors by.
    pub(crate) fn listener(self: &Arc<Doors>) -> Box<dyn Listener> {
        Box::new(Handle(Arc::downgrade(self)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Door>> {
        self.open.lock().expect("whoever moves the doors does not panic")
    }

    fn accept(&self, Opened { listener, address, tls }: Opened) -> Result<Door, Error> {
        let (accepting, closed) = watch::channel(());
        let (socket, is_tls) = (listener.try_clone().map_err(Error::Worker)?, tls.is_some());
        self.balance.spare().accept_from(Entrance::Tcp(listener), Arc::clone(&self.balance), tls, closed);
        Ok(Door { address, is_tls, socket, _accepting: accepting })
    }

    /// Opens and closes doors so that they are where the settings say.
    fn relocate(&self, settings: &Settings) -> Result<(), Error> {
        let mut open = self.lock();
        let (mut stays, mut opened) = (vec![false; open.len()], Vec::new());
        let tls = TlsConfig::of(settings);
        let acceptor = tls.as_ref().map(tls::acceptor).transpose().map_err(Error::Tls)?;
        let plain_port = u16::try_from(settings.int(Setting::Port)).expect("the table bounds ports");
        for (port, tls) in [(plain_port, None), (tls.map_or(0, |tls| tls.port), acceptor)] {
            if port == 0 {
                continue;
            }
            for host in hosts(&settings.text(Setting::Bind), port) {
                let address = resolve(&host, port)?;
                match open.iter().position(|door| door.address == address && door.is_tls == tls.is_some()) {
                    Some(at) => stays[at] = true,
                    None => {
                        let beside = open.iter().filter(|door| door.overlaps(address)).map(|door| &door.socket);
                        let listener = listen_beside(address, self.backlog, beside)?;
                        opened.push(Opened { listener, address, tls: tls.clone() });
                    }
                }
            }
        }
        let fresh = opened.into_iter().map(|opened| self.accept(opened)).collect::<Result<Vec<Door>, Error>>()?;
        let mut stays = stays.into_iter();
        open.retain(|_| stays.next() == Some(true));
        open.extend(fresh);
        Ok(())
    }
}

impl Door {
    /// Tells whether an address includes this one or is included, so that the system would not give it away a second time.
    fn overlaps(&self, address: SocketAddr) -> bool {
        self.address.port() == address.port()
            && self.address.is_ipv4() == address.is_ipv4()
            && self.address.ip() != address.ip()
            && (self.address.ip().is_unspecified() || address.ip().is_unspecified())
    }
}

/// The doors as the engine knows them, which they outlive.
struct Handle(Weak<Doors>);

impl Listener for Handle {
    fn listen(&self, settings: &Settings) -> Result<(), String> {
        let doors = self.0.upgrade().ok_or("the server has stopped")?;
        doors.relocate(settings).map_err(|error| error.to_string())
    }
}

/// Listens on every host; a free port is the same on all.
pub(crate) fn listen_all(
    hosts: &[String],
    mut port: u16,
    backlog: i32,
    tls: Option<&TlsAcceptor>,
) -> Result<Vec<Opened>, Error> {
    let mut opened = Vec::new();
    for host in hosts {
        let listener = listen_beside(resolve(host, port)?, backlog, std::iter::empty())?;
        let address = listener.local_addr().map_err(Error::Worker)?;
        port = address.port();
        opened.push(Opened { listener, address, tls: tls.cloned() });
    }
    Ok(opened)
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, Error> {
    let refuse = |source| Error::Resolve { host: host.to_owned(), source };
    let mut addresses = (host, port).to_socket_addrs().map_err(refuse)?;
    addresses.next().ok_or_else(|| refuse(std::io::ErrorKind::NotFound.into()))
}

/// Listens on an address, sharing its port for the moment with sockets that are about to be closed.
fn listen_beside<'a>(
    address: SocketAddr,
    backlog: i32,
    beside: impl Iterator<Item = &'a TcpListener>,
) -> Result<TcpListener, Error> {
    let others: Vec<SockRef<'_>> = beside.map(SockRef::from).collect();
    let share = |shared| others.iter().try_for_each(|other| other.set_reuse_port(shared));
    let listened = share(true).and_then(|()| listen(address, backlog, !others.is_empty()));
    let unshared = share(false);
    let listener = listened.map_err(|source| Error::Listen { address, port: address.port(), source })?;
    unshared.map_err(Error::Worker)?;
    Ok(listener)
}

fn listen(address: SocketAddr, backlog: i32, shares: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if shares {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    if shares {
        socket.set_reuse_port(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Returns what the words of `bind` mean, without what may be missing and is: `*` and `::*` are all of IPv4 and IPv6, and a word with a `-` before
/// it may be missing on this machine.
pub fn hosts(bind: &str, port: u16) -> Vec<String> {
    let named = bind.split_ascii_whitespace().filter_map(|word| match word.strip_prefix('-') {
        None => Some(host(word)),
        Some(optional) => Some(host(optional)).filter(|host| is_here(host, port)),
    });
    named.map(str::to_owned).collect()
}

fn host(word: &str) -> &str {
    match word {
        "*" => "0.0.0.0",
        "::*" => "::",
        host => host,
    }
}

/// Tells whether the machine has an address; one whose port is taken is there.
fn is_here(host: &str, port: u16) -> bool {
    let Some(address) = (host, port).to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) else {
        return false;
    };
    // Binding `::` without a port in use says whether there is IPv6 at all; both families at once are not wanted.
    match TcpListener::bind((address.ip(), 0)) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::AddrInUse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_bind_are_understood() {
        assert_eq!(hosts("127.0.0.1  localhost", 0), ["127.0.0.1", "localhost"]);
        assert_eq!(hosts("* -192.0.2.1", 0), ["0.0.0.0"]);
        assert_eq!(hosts("-127.0.0.1", 0), ["127.0.0.1"]);
        assert_eq!(hosts("::*", 0), ["::"]);
    }
}
