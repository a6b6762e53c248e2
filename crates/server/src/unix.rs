//! The Unix socket: where clients on this machine come in without TCP, if the settings name a path for it.
//!
//! A socket that is left over there from a program that has ended is replaced; anything else at the path is not touched, and then the server does not
//! start. The socket is removed when the server ends.

use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use redpoll_store::commands::settings::{Setting, Settings};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::listener::Error;

/// A Unix socket to listen on.
#[derive(Clone, Debug)]
pub struct UnixConfig {
    /// Where it is.
    pub path: PathBuf,
    /// Its permissions; 0 leaves them as the system makes them.
    pub permissions: u32,
}

impl UnixConfig {
    /// Reads what the settings say; nothing if they name no path.
    pub fn of(settings: &Settings) -> Option<UnixConfig> {
        let path = settings.text(Setting::Unixsocket);
        let permissions = u32::try_from(settings.int(Setting::Unixsocketperm)).expect("the table bounds permissions");
        (!path.is_empty()).then(|| UnixConfig { path: path.into(), permissions })
    }
}

/// The socket, listened on; its file goes with it.
pub(crate) struct UnixDoor {
    listener: UnixListener,
    path: PathBuf,
}

impl UnixDoor {
    pub(crate) fn open(config: &UnixConfig, backlog: i32) -> Result<UnixDoor, Error> {
        let path = config.path.clone();
        match listen(config, backlog) {
            Ok(listener) => Ok(UnixDoor { listener, path }),
            Err(source) => Err(Error::Unix { path, source }),
        }
    }

    /// Returns another handle on the socket, to accept from.
    pub(crate) fn listener(&self) -> Result<UnixListener, Error> {
        self.listener.try_clone().map_err(Error::Worker)
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

fn listen(config: &UnixConfig, backlog: i32) -> std::io::Result<UnixListener> {
    if is_socket(&config.path) {
        std::fs::remove_file(&config.path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&config.path)?)?;
    if config.permissions != 0 {
        std::fs::set_permissions(&config.path, Permissions::from_mode(config.permissions))?;
    }
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}
