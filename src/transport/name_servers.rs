//! Finds out if no name server could answer. The resolver of musl does not notice that a server refuses its questions, and
//! waits for half a minute; that of glibc ends at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

const HOSTS: &str = "/etc/hosts";
const SERVERS: &str = "/etc/resolv.conf";
/// The port of name servers.
const PORT: u16 = 53;
/// How long a name server of this machine may take to refuse a question or to answer it.
const PATIENCE: Duration = Duration::from_millis(200);
/// The musl library asks no more of them.
const MOST_SERVERS: usize = 3;
/// A question for the servers of the root, without recursion: each name server answers it from memory.
const QUESTION: &[u8] = b"\x70\x67\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";

/// An error if the name must be asked for, and no name server could answer.
pub(super) fn check(host: &str) -> io::Result<()> {
    let is_known = host.parse::<IpAddr>().is_ok()
        || std::fs::read(HOSTS).is_ok_and(|hosts| names(&String::from_utf8_lossy(&hosts), host));
    if is_known {
        return Ok(());
    }
    let configured = match std::fs::read(SERVERS) {
        Ok(content) => Some(content),
        // As musl does.
        Err(error) if is_missing(&error) => None,
        Err(_) => return Ok(()),
    };
    let servers = servers(&String::from_utf8_lossy(configured.as_deref().unwrap_or_default()));
    if servers.iter().any(|server| server.is_none_or(|server| may_answer(server, PORT))) {
        return Ok(());
    }
    Err(io::Error::other(no_answer(configured.is_some(), &servers)))
}

fn is_missing(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::PermissionDenied];
    kinds.contains(&error.kind())
}

/// Whether the file of hosts has the name.
fn names(hosts: &str, host: &str) -> bool {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(|line| line.split_whitespace().skip(1)).any(|name| name == host)
}

/// The servers that musl asks. `None`: an address in another form, such as with a zone.
fn servers(resolv_conf: &str) -> Vec<Option<IpAddr>> {
    let lines = resolv_conf.lines().filter_map(|line| line.strip_prefix("nameserver"));
    let addresses = lines.filter(|rest| rest.starts_with(char::is_whitespace)).map(str::trim);
    let found: Vec<_> = addresses.take(MOST_SERVERS).map(|address| address.parse().ok()).collect();
    if found.is_empty() { vec![Some(Ipv4Addr::LOCALHOST.into())] } else { found }
}

/// False: there is no route to the server, or it is this machine, which refuses questions.
fn may_answer(server: IpAddr, port: u16) -> bool {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // If the system gives no socket the resolver may still have luck.
    let Ok(socket) = UdpSocket::bind((any, 0)) else { return true };
    if socket.connect((server, port)).is_err() {
        return false;
    }
    if !server.is_loopback() {
        return true;
    }
    let ask = || {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(QUESTION)?;
        socket.recv(&mut [0; 512])
    };
    ask().map_or_else(|error| error.kind() != io::ErrorKind::ConnectionRefused, |_| true)
}

fn no_answer(has_file: bool, servers: &[Option<IpAddr>]) -> String {
    let addresses: Vec<_> = servers.iter().flatten().map(ToString::to_string).collect();
    let source = if has_file { "of" } else { "the default without" };
    format!(
        "{HOSTS} does not have this name, and the name server {} ({source} {SERVERS}) cannot be reached",
        addresses.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_behind_an_address_and_not_in_a_comment() {
        let hosts = "127.0.0.1 localhost  loop\n#1.2.3.4 old\n\t10.0.0.1\tshop shop.example # api.example\n";
        assert!(["localhost", "loop", "shop", "shop.example"].iter().all(|name| names(hosts, name)));
        assert!(
            ["127.0.0.1", "old", "api.example", "#", "local", "example"]
                .iter()
                .all(|name| !names(hosts, name))
        );
    }

    #[test]
    fn the_servers_are_those_of_the_file_or_this_machine() {
        let local = Some(Ipv4Addr::LOCALHOST.into());
        assert_eq!(servers(""), [local]);
        assert_eq!(servers("search example\n#nameserver 1.1.1.1\nnameservers 1.1.1.1\n"), [local]);
        let file = "nameserver\t10.0.0.1 \noptions ndots:2\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver 10.0.0.4";
        assert_eq!(servers(file), [Some([10, 0, 0, 1].into()), Some(Ipv6Addr::LOCALHOST.into()), None]);
    }

    #[test]
    fn a_port_of_this_machine_that_nobody_listens_on_cannot_answer() {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        // A server that is silent may be slow.
        assert!(may_answer(Ipv4Addr::LOCALHOST.into(), port));
        let mut question = [0; 512];
        let (length, _) = server.recv_from(&mut question).unwrap();
        assert_eq!(&question[..length], QUESTION);
        drop(server);
        assert!(!may_answer(Ipv4Addr::LOCALHOST.into(), port));
    }

    #[test]
    fn the_error_names_the_files_and_the_servers() {
        let server = [Some([10, 0, 0, 1].into()), None];
        let with = "/etc/hosts does not have this name, and the name server 10.0.0.1 (of /etc/resolv.conf) cannot be reached";
        assert_eq!(no_answer(true, &server), with);
        assert!(no_answer(false, &server).contains("(the default without /etc/resolv.conf)"));
    }

    #[test]
    fn an_address_and_the_name_of_this_machine_pass() {
        assert!(["127.0.0.1", "::1"].iter().all(|host| check(host).is_ok()));
    }
}
