//! The agent's sockets: unix sockets, loopback addresses, and those that a service manager passes (socket activation).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use paymentsgate_auth::{Error, Secret, Status};
use rustix::fs::{FlockOperation, Mode, RawMode, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use rustix::process::umask;
use tempfile::NamedTempFile;

use super::{caller, system};
use crate::arguments::AgentArguments;
use crate::place::Place;
use crate::settings::absolute;

/// The longest path of a socket, without the NUL at its end.
const LONGEST_PATH: usize = if cfg!(target_vendor = "apple") { 103 } else { 107 };

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
            let text = "the system gives no random numbers; check that getrandom is allowed";
            Error::new(Status::PG_ERR_SYSTEM, text)
        })?;
        let failed = |error| system(&format!("write {} (--secret-file)", path.display()), &error);
        let lock = lock(&path).map_err(failed)?.ok_or_else(|| {
            let text = format!("another agent uses {}; give this one another --secret-file", path.display());
            Error::new(Status::PG_ERR_SYSTEM, text)
        })?;
        if !may_replace(&path) {
            let text =
                format!("{} exists and is no secret of an agent; give another --secret-file", path.display());
            return Err(Error::new(Status::PG_ERR_INVALID_ARGUMENT, text));
        }
        let written = write_new(&path, secret.expose(), arguments.mode).and_then(|()| identity(&path));
        self._files.push(OwnFile { identity: written.map_err(failed)?, path, _lock: lock });
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
        Ok(Door { role, socket, name })
    }

    /// A socket that the service manager passes must be as safe as one of the agent's own.
    fn check(self) -> Result<Self, Error> {
        let (is_listening, is_safe) = match &self.socket {
            Socket::Tcp(listener) => {
                let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
                (is_listening(listener), self.role == Role::Health || is_loopback)
            }
            Socket::Unix(listener) => {
                let address = listener.local_addr().ok();
                let found = address.and_then(|address| fs::metadata(address.as_pathname()?).ok());
                // To connect takes the right to write.
                let is_private = found.is_some_and(|found| found.mode() & 0o002 == 0);
                (is_listening(listener), self.role == Role::Health || is_private)
            }
        };
        let what = match (is_listening, is_safe) {
            (Ok(true), true) => return Ok(self),
            (Ok(true), false) => {
                "is open to others, who could act for the account; set ListenStream to a loopback address, or SocketMode to 0660"
            }
            _ => "does not listen; set ListenStream, and Accept to no",
        };
        let text = format!("the socket {} for {} {what}, in its socket unit", self.name, self.role.name());
        Err(Error::new(Status::PG_ERR_INVALID_ARGUMENT, text))
    }
}

#[cfg(not(target_vendor = "apple"))]
fn is_listening(socket: impl AsFd) -> io::Result<bool> {
    Ok(rustix::net::sockopt::socket_acceptconn(socket)?)
}

/// macOS does not say. Nothing there passes sockets as systemd does, and one that does not listen fails at the first client.
#[cfg(target_vendor = "apple")]
fn is_listening(_socket: impl AsFd) -> io::Result<bool> {
    Ok(true)
}

/// The sockets that the service manager passes.
fn activated() -> Result<Vec<Door>, Error> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = ListenFd::from_env();
    let mut doors = Vec::new();
    for (index, name) in (0..passed.len()).zip(names.split(':').chain(std::iter::repeat(""))) {
        let role = role_of(name)?;
        // A socket of another kind is left in its place.
        let socket = match passed.take_tcp_listener(index) {
            Ok(listener) => listener.map(Socket::Tcp),
            Err(_) => {
                let what = format!("use socket {index} of the service manager, which must be a ListenStream");
                passed.take_unix_listener(index).map_err(|error| system(&what, &error))?.map(Socket::Unix)
            }
        };
        if let Some(socket) = socket {
            doors.push(Door::new(role, socket)?.check()?);
        }
    }
    Ok(doors)
}

/// The service of a socket by its FileDescriptorName, which is the name of its unit if it is not set.
fn role_of(name: &str) -> Result<Role, Error> {
    let is_unset = name.is_empty() || name == "unknown" || name.ends_with(".socket");
    let role = Role::ALL.into_iter().find(|role| role.name() == name).or(is_unset.then_some(Role::Tokens));
    role.ok_or_else(|| {
        let text = format!("FileDescriptorName={name:?} of a socket unit: give tokens, proxy or health");
        Error::new(Status::PG_ERR_INVALID_ARGUMENT, text)
    })
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
    identity: (u64, u64),
    _lock: File,
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The device and the inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Whether nothing is there, or the secret of an agent that was killed.
fn may_replace(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() == 64 => {
            fs::read(path).is_ok_and(|bytes| bytes.iter().all(u8::is_ascii_hexdigit))
        }
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
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
    let address = SocketAddrUnix::new(path).map_err(|_| {
        let text = format!(
            "the path {place} is longer than a socket's can be ({LONGEST_PATH} bytes); give a shorter one"
        );
        Error::new(Status::PG_ERR_INVALID_ARGUMENT, text)
    })?;
    let lock = lock(path).map_err(failed)?.ok_or_else(busy)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            let text = format!("{place} exists and is not a socket; give another path");
            return Err(Error::new(Status::PG_ERR_INVALID_ARGUMENT, text));
        }
        Ok(_) if !is_abandoned(&address).map_err(failed)? => return Err(busy()),
        Ok(_) => fs::remove_file(path).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let before = umask(Mode::from_raw_mode((0o777 & !mode) as RawMode));
    let bound = UnixListener::bind(path).and_then(|listener| Ok((listener, identity(path)?)));
    umask(before);
    let (listener, identity) = bound.map_err(failed)?;
    Ok((listener, OwnFile { path: path.into(), identity, _lock: lock }))
}

/// Whether no program listens on the socket any more. One that listens may be of another kind, or too busy to accept.
fn is_abandoned(address: &SocketAddrUnix) -> io::Result<bool> {
    let probe = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&probe, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&probe, true)?;
    match connect(&probe, address) {
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(false),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Two agents that start at the same moment must not remove each other's socket. The lock file stays.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&name);
    let advised = |error: io::Error| {
        let text =
            format!("{}: {error}; {}", name.display(), lock_advice(path, Path::new(&name), error.kind()));
        io::Error::new(error.kind(), text)
    };
    let file = opened.map_err(advised)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What to do if the lock file of a socket cannot be opened.
fn lock_advice(path: &Path, lock: &Path, error: io::ErrorKind) -> String {
    let folder = path.parent().unwrap_or(Path::new("/")).display();
    match (error, fs::metadata(lock)) {
        (io::ErrorKind::NotFound, _) => format!("make the folder {folder}"),
        (io::ErrorKind::ReadOnlyFilesystem, _) => format!("mount a volume at {folder}"),
        (_, Ok(found)) => {
            format!("it belongs to user {}; remove it, or start the agent as that user", found.uid())
        }
        _ => format!("the agent must be able to write in {folder}"),
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
    fn a_passed_socket_is_known_by_its_name() {
        for (name, role) in [
            ("", Role::Tokens),
            ("unknown", Role::Tokens),
            ("shop.socket", Role::Tokens),
            ("proxy", Role::Proxy),
        ] {
            assert_eq!(role_of(name).unwrap(), role, "{name}");
        }
        assert!(role_of("Proxy").unwrap_err().text.contains("tokens, proxy or health"));
    }

    #[test]
    fn a_lock_that_cannot_be_opened_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str| bind_unix(&folder.path().join(name), 0o600).err().unwrap().text;
        let missing = refused("none/agent.sock");
        let place = folder.path().display();
        assert!(missing.ends_with(&format!("; make the folder {place}/none")), "{missing}");
        // Like the lock of another user, which root can open.
        fs::create_dir(folder.path().join("agent.sock.lock")).unwrap();
        let us = rustix::process::geteuid().as_raw();
        let foreign = refused("agent.sock");
        let advice = format!("; it belongs to user {us}; remove it, or start the agent as that user");
        assert!(foreign.contains("agent.sock.lock: ") && foreign.ends_with(&advice), "{foreign}");
    }

    #[test]
    fn a_passed_socket_that_is_open_to_others_is_refused() {
        let check = |role, socket| Door::new(role, socket).unwrap().check();
        let tcp = |address: &str| Socket::Tcp(TcpListener::bind(address).unwrap());
        assert!(check(Role::Tokens, tcp("127.0.0.1:0")).is_ok());
        assert!(check(Role::Health, tcp("0.0.0.0:0")).is_ok());
        for role in [Role::Tokens, Role::Proxy] {
            let error = check(role, tcp("0.0.0.0:0")).err().unwrap();
            assert!(error.text.contains("ListenStream"), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        for (mode, is_safe) in [(0o600, true), (0o755, true), (0o666, false)] {
            let path = folder.path().join(format!("{mode:o}"));
            let listener = UnixListener::bind(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check(Role::Tokens, Socket::Unix(listener)).is_ok(), is_safe, "{mode:o}");
        }
    }
}
