//! A service over plain HTTP on loopback that issues tokens and lets a test write every other answer byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A request that reached the service.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The first line and the headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

type Handler = Arc<dyn Fn(&Seen, &mut TcpStream) + Send + Sync>;

pub(crate) struct Upstream {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    issued: Arc<AtomicU64>,
    arrived: Arc<Mutex<Vec<u8>>>,
}

impl Upstream {
    /// `answer` writes the answer to every request but Issue and Refresh.
    pub(crate) fn start(answer: impl Fn(&Seen, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream =
            Upstream { url, seen: Arc::default(), issued: Arc::default(), arrived: Arc::default() };
        let (seen, issued, arrived) =
            (upstream.seen.clone(), upstream.issued.clone(), upstream.arrived.clone());
        let answer: Handler = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, issued, arrived) = (seen.clone(), issued.clone(), arrived.clone());
                let answer = answer.clone();
                std::thread::spawn(move || serve(stream, &seen, &issued, &arrived, &answer));
            }
        });
        upstream
    }

    /// The requests beside Issue and Refresh.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// What has arrived so far of chunked bodies, also of one that has not ended.
    pub(crate) fn arrived(&self) -> Vec<u8> {
        self.arrived.lock().unwrap().clone()
    }

    /// The number of calls of Issue and Refresh; the last token is `token-` and this number.
    pub(crate) fn issued(&self) -> u64 {
        self.issued.load(Ordering::SeqCst)
    }
}

/// An answer with a length.
pub(crate) fn write_answer(stream: &mut TcpStream, status: u16, body: &str) {
    let _ = write!(stream, "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Seen>>,
    issued: &AtomicU64,
    arrived: &Mutex<Vec<u8>>,
    answer: &Handler,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read_request(&mut reader, arrived) {
        if request.head.starts_with("POST /auth/token") {
            let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
            let body = format!(
                r#"{{"access_token": "token-{number}", "refresh_token": "refresh-{number}", "expires_in": 3600}}"#
            );
            write_answer(&mut stream, 200, &body);
        } else {
            seen.lock().unwrap().push(request.clone());
            answer(&request, &mut stream);
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>, arrived: &Mutex<Vec<u8>>) -> Option<Seen> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let field = |name: &str| lower.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let mut body = Vec::new();
    if let Some(length) = field("content-length:") {
        body.resize(length.parse().ok()?, 0);
        reader.read_exact(&mut body).ok()?;
    } else if field("transfer-encoding:") == Some("chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).ok()? + 2];
            reader.read_exact(&mut chunk).ok()?;
            if chunk.len() == 2 {
                break;
            }
            chunk.truncate(chunk.len() - 2);
            arrived.lock().unwrap().extend_from_slice(&chunk);
            body.append(&mut chunk);
        }
    }
    Some(Seen { head, body })
}
