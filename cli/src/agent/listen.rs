//! The agent's sockets: unix sockets, loopback addresses, and those that a service manager passes (socket activation).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use listenfd::ListenFd;
use paymentsgate_auth::{Error, Secret, Status};
use rustix::fs::{FlockOperation, Mode, flock};
use rustix::process::umask;
use tempfile::NamedTempFile;

use super::{caller, system};
use crate::arguments::AgentArguments;
use crate::settings::absolute;

/// A service of the agent. The name is that of a socket unit's FileDescriptorName.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Tokens,
    Proxy,
    Health,
}

impl Role {
    pub(super) const ALL: [Role; 3] = [Role::Tokens, Role::Proxy, Role::Health];

    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Tokens => "tokens",
            Role::Proxy => "proxy",
            Role::Health => "health",
        }
    }
}

/// A place to listen: `127.0.0.1:8080`, `localhost:8080`, or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("give a path behind unix:, for example unix:/run/shop/proxy.sock".into()),
            Some(path) => Ok(Place::Unix(path.into())),
            None => loopback(text).map(Place::Tcp),
        }
    }
}

/// An address that only programs on this machine, or in this pod, can reach.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address: SocketAddr =
        numeric.parse().map_err(|_| "give an address and a port, for example 127.0.0.1:8080")?;
    if !address.ip().is_loopback() {
        return Err("not a loopback address: everyone who can reach it would act for the account".into());
    }
    Ok(address)
}

/// A file mode in octal digits.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).map_err(|_| "give octal digits, for example 660")?;
    if mode & !0o770 != 0 || mode & 0o600 != 0o600 {
        return Err("the owner must have access (6..) and others must not (..0)".into());
    }
    Ok(mode)
}

pub(super) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A socket and the service behind it.
pub(super) struct Door {
    pub(super) role: Role,
    pub(super) socket: Socket,
    /// As a client names it.
    pub(super) name: String,
}

/// All sockets, and the files that end with them.
pub(super) struct Sockets {
    doors: Vec<Door>,
    /// If tokens are served over TCP.
    pub(super) secret: Option<Secret>,
    _files: Vec<OwnFile>,
}

impl Sockets {
    pub(super) fn open(arguments: &AgentArguments) -> Result<Self, Error> {
        let mut sockets = Sockets { doors: activated()?, secret: None, _files: Vec::new() };
        let AgentArguments { socket, listen, proxy, health, .. } = arguments;
        let is_unset = socket.is_none() && listen.is_none() && proxy.is_none() && sockets.doors.is_empty();
        let socket = match socket {
            None if is_unset => Some(runtime_folder("--socket")?.join("agent.sock")),
            given => given.clone(),
        };
        if let Some(path) = socket {
            sockets.bind(Role::Tokens, &Place::Unix(path), arguments.mode)?;
        }
        for (role, address) in [(Role::Tokens, listen), (Role::Health, health)] {
            address
                .iter()
                .try_for_each(|address| sockets.bind(role, &Place::Tcp(*address), arguments.mode))?;
        }
        proxy.iter().try_for_each(|place| sockets.bind(Role::Proxy, place, arguments.mode))?;
        let needs_secret = |door: &Door| door.role == Role::Tokens && matches!(door.socket, Socket::Tcp(_));
        if sockets.doors.iter().any(needs_secret) {
            sockets.write_secret(arguments)?;
        }
        Ok(sockets)
    }

    fn bind(&mut self, role: Role, place: &Place, mode: u32) -> Result<(), Error> {
        let door = match place {
            Place::Tcp(address) => {
                let listener = TcpListener::bind(address)
                    .map_err(|error| system(&format!("listen on {address} for {}", role.name()), &error))?;
                Door::new(role, Socket::Tcp(listener))
            }
            Place::Unix(path) => {
                let (listener, file) = bind_unix(path, mode)?;
                self._files.push(file);
                Door::new(role, Socket::Unix(listener))
            }
        };
        self.doors.push(door?);
        Ok(())
    }

    fn write_secret(&mut self, arguments: &AgentArguments) -> Result<(), Error> {
        let path = match &arguments.secret_file {
            Some(path) => path.clone(),
            None => runtime_folder("--secret-file")?.join("agent.secret"),
        };
        let secret = caller::random_secret().ok_or_else(|| {
            Error::new(
                Status::PG_ERR_SYSTEM,
                "the system gives no random numbers; check that getrandom is allowed",
            )
        })?;
        let written = write_new(&path, secret.expose(), arguments.mode);
        written.map_err(|error| system(&format!("write {} (--secret-file)", path.display()), &error))?;
        self._files.push(OwnFile { path, content: Some(secret.clone()), _lock: None });
        self.secret = Some(secret);
        Ok(())
    }

    /// The sockets, once.
    pub(super) fn take_doors(&mut self) -> Vec<Door> {
        std::mem::take(&mut self.doors)
    }
}

impl Door {
    fn new(role: Role, socket: Socket) -> Result<Self, Error> {
        let read = || {
            Ok(match &socket {
                Socket::Tcp(listener) => {
                    listener.set_nonblocking(true)?;
                    format!("http://{}", listener.local_addr()?)
                }
                Socket::Unix(listener) => {
                    listener.set_nonblocking(true)?;
                    let address = listener.local_addr()?;
                    format!("unix:{}", address.as_pathname().unwrap_or(Path::new("(unnamed)")).display())
                }
            })
        };
        let name = read().map_err(|error: io::Error| system("use a socket", &error))?;
        if let (Socket::Tcp(listener), Role::Tokens | Role::Proxy) = (&socket, role)
            && !listener.local_addr().is_ok_and(|address| address.ip().is_loopback())
        {
            let text = format!(
                "the socket {name} for {} is not on a loopback address, so other machines could act for the account; \
                 change ListenStream of its unit",
                role.name()
            );
            return Err(Error::new(Status::PG_ERR_INVALID_ARGUMENT, text));
        }
        Ok(Door { role, socket, name })
    }
}

/// The sockets that the service manager passes. A socket without a name of the agent is for tokens.
fn activated() -> Result<Vec<Door>, Error> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = ListenFd::from_env();
    let doors = (0..passed.len()).zip(names.split(':').chain(std::iter::repeat(""))).map(|(index, name)| {
        let role = Role::ALL.into_iter().find(|role| role.name() == name).unwrap_or(Role::Tokens);
        // A socket of another kind is left in its place.
        let socket = match passed.take_tcp_listener(index) {
            Ok(listener) => listener.map(Socket::Tcp),
            Err(_) => passed
                .take_unix_listener(index)
                .map_err(|error| system("use a socket of the service manager", &error))?
                .map(Socket::Unix),
        };
        socket.map(|socket| Door::new(role, socket)).transpose()
    });
    doors.filter_map(Result::transpose).collect()
}

/// The folder for what lives as long as the agent: given by the service manager, or the user's.
fn runtime_folder(flag: &str) -> Result<PathBuf, Error> {
    // systemd separates several folders by colons.
    let given = std::env::var("RUNTIME_DIRECTORY").ok();
    if let Some(folder) =
        given.as_deref().and_then(|given| given.split(':').next()).filter(|it| !it.is_empty())
    {
        return Ok(folder.into());
    }
    let folder =
        absolute("XDG_RUNTIME_DIR").map(|folder| folder.join("paymentsgate-auth")).ok_or_else(|| {
            let text =
                format!("XDG_RUNTIME_DIR is not set, so there is no folder for it; name a file with {flag}");
            Error::new(Status::PG_ERR_INVALID_ARGUMENT, text)
        })?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| system(&format!("make {}; name a file with {flag}", folder.display()), &error))?;
    Ok(folder)
}

/// A file that is removed at the end, if it is still the agent's own.
struct OwnFile {
    path: PathBuf,
    /// `None`: a socket, which is the agent's own while the lock is held.
    content: Option<Secret>,
    _lock: Option<File>,
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let is_own =
            |secret: &Secret| fs::read(&self.path).is_ok_and(|bytes| bytes == secret.expose().as_bytes());
        if self.content.as_ref().is_none_or(is_own) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a unix socket that has its mode from the first moment. The socket of an agent that was killed is replaced.
fn bind_unix(path: &Path, mode: u32) -> Result<(UnixListener, OwnFile), Error> {
    let place = path.display();
    let failed = |error: io::Error| system(&format!("listen on {place}"), &error);
    let busy = || {
        let text = format!("another program listens on {place}; stop it, or give this agent another socket");
        Error::new(Status::PG_ERR_SYSTEM, text)
    };
    let lock = lock(path).map_err(failed)?.ok_or_else(busy)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let text = format!("{place} exists and is not a socket; give another path");
            return Err(Error::new(Status::PG_ERR_INVALID_ARGUMENT, text));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(busy()),
        Ok(_) => fs::remove_file(path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let before = umask(Mode::from_raw_mode(0o777 & !mode));
    let bound = UnixListener::bind(path);
    umask(before);
    let file = OwnFile { path: path.into(), content: None, _lock: Some(lock) };
    bound.map(|listener| (listener, file)).map_err(failed)
}

/// Two agents that start at the same moment must not remove each other's socket. The lock file stays.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(name)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Replaces a file as a whole.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_loopback_address_or_a_path() {
        assert_eq!("localhost:80".parse(), Ok(Place::Tcp(([127, 0, 0, 1], 80).into())));
        assert!(matches!("[::1]:80".parse(), Ok(Place::Tcp(_))));
        assert_eq!("unix:/run/a b".parse(), Ok(Place::Unix("/run/a b".into())));
        for wrong in
            ["", "8080", "0.0.0.0:80", "10.0.0.1:80", "[::]:80", "unix:", "localhost", "localhost:http"]
        {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mode_lets_the_owner_in_and_no_others() {
        assert_eq!((mode("600"), mode("0660")), (Ok(0o600), Ok(0o660)));
        for wrong in ["", "666", "0400", "rw", "1600", "60"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }
}
