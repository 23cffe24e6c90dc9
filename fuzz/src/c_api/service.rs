//! A small service on loopback, which answers each request as the fuzzer says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex};
use std::thread;

/// The answers to come, used in turn, again and again.
static BEHAVIOUR: Mutex<(Vec<u8>, usize)> = Mutex::new((Vec::new(), 0));
static PORT: LazyLock<u16> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    port
});

pub fn url() -> String {
    format!("http://127.0.0.1:{}", *PORT)
}

pub fn behave(behaviour: &[u8]) {
    *BEHAVIOUR.lock().unwrap() = (behaviour.to_vec(), 0);
}

fn next() -> u8 {
    let mut behaviour = BEHAVIOUR.lock().unwrap();
    let at = behaviour.1;
    behaviour.1 += 1;
    let length = behaviour.0.len();
    if length == 0 { 0 } else { behaviour.0[at % length] }
}

fn serve(mut stream: TcpStream) {
    let (mut unread, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        unread.extend_from_slice(&buffer[..length]);
        let Some(end) = end_of_request(&unread) else { continue };
        unread.drain(..end);
        let (status, lifetime) = match next() % 8 {
            0 | 1 => (200, 3600),
            2 => (200, 7),
            3 => (401, 0),
            4 => (429, 0),
            5 => (503, 0),
            6 => (200, 1),
            // The answer is lost.
            _ => return,
        };
        let body = match status {
            200 => format!(
                r#"{{"access_token":"new-{}","refresh_token":"next-{0}","expires_in":{lifetime}}}"#,
                next_number()
            ),
            _ => format!(r#"{{"error":"ERROR_OF_FUZZ","message":"no","statusCode":{status}}}"#),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).is_err() {
            return;
        }
    }
}

fn next_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn end_of_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let end = head + length.unwrap_or(0);
    (end <= bytes.len()).then_some(end)
}
