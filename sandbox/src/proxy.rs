//! A forward proxy that opens tunnels to this machine only.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::counters::Listener;
use crate::port::accept;
use crate::world::Shared;

const LONGEST_HEAD: usize = 16 * 1024;

pub(crate) async fn serve(socket: TcpListener, shared: Arc<Shared>) {
    loop {
        let client = accept(&socket).await;
        shared.lock().counted.connected(Listener::Proxy);
        tokio::spawn(tunnel(client, Arc::clone(&shared)));
    }
}

async fn tunnel(mut client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let head = read_head(&mut client).await?;
    let asked = shared.lock().state.switches.proxy_credentials.clone();
    match target(&head, asked.as_deref()) {
        Ok(address) => {
            let Ok(mut server) = TcpStream::connect(address).await else {
                return refuse(&mut client, &shared, "502 Bad Gateway").await;
            };
            shared.lock().counted.proxy_tunnels += 1;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            copy_bidirectional(&mut client, &mut server).await.map(|_| ())
        }
        Err(status) => refuse(&mut client, &shared, status).await,
    }
}

async fn refuse(client: &mut TcpStream, shared: &Shared, status: &str) -> io::Result<()> {
    shared.lock().counted.proxy_refusals += 1;
    let challenge =
        if status.starts_with("407") { "proxy-authenticate: Basic realm=\"sandbox\"\r\n" } else { "" };
    let answer = format!("HTTP/1.1 {status}\r\n{challenge}content-length: 0\r\nconnection: close\r\n\r\n");
    client.write_all(answer.as_bytes()).await
}

/// Reads byte by byte, so that the bytes after the head stay in the tunnel.
async fn read_head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(client.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The requested address, or the status of a refusal.
fn target(head: &str, asked: Option<&str>) -> Result<(&'static str, u16), &'static str> {
    let mut lines = head.lines();
    let mut request = lines.next().unwrap_or_default().split(' ');
    if request.next() != Some("CONNECT") {
        return Err("405 Method Not Allowed");
    }
    if asked.is_some_and(|credentials| !lines.any(|line| bears(line, credentials))) {
        return Err("407 Proxy Authentication Required");
    }
    let (host, port) = request.next().and_then(|target| target.rsplit_once(':')).ok_or("400 Bad Request")?;
    let port = port.parse().map_err(|_| "400 Bad Request")?;
    match host {
        "localhost" | "127.0.0.1" => Ok(("127.0.0.1", port)),
        _ => Err("403 Forbidden"),
    }
}

fn bears(line: &str, credentials: &str) -> bool {
    let Some((name, value)) = line.split_once(':') else { return false };
    let basic = format!("Basic {}", STANDARD.encode(credentials));
    name.eq_ignore_ascii_case("proxy-authorization") && value.trim() == basic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_reached() {
        assert_eq!(target("CONNECT localhost:8443 HTTP/1.1\r\n\r\n", None), Ok(("127.0.0.1", 8443)));
        assert_eq!(target("CONNECT example.com:443 HTTP/1.1\r\n\r\n", None), Err("403 Forbidden"));
        assert_eq!(target("GET http://localhost/ HTTP/1.1\r\n\r\n", None), Err("405 Method Not Allowed"));
        assert_eq!(target("CONNECT localhost HTTP/1.1\r\n\r\n", None), Err("400 Bad Request"));
    }

    #[test]
    fn credentials_are_asked_for() {
        let head = "CONNECT localhost:1 HTTP/1.1\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n";
        assert!(target(head, Some("user:pass")).is_ok());
        assert_eq!(target(head, Some("user:other")), Err("407 Proxy Authentication Required"));
    }
}
