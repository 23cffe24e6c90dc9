//! Replies of a Redis server: any bytes, after a sound greeting or instead of it, and records in sound replies.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::RecordKey;
use paymentsgate_auth::{Client, Config, Error, Operator};

use super::input::{Input, expand};
use super::records::envelope;
use super::scripted::{DAY, PUBLIC_KEY, check_error, check_text};

const BASE_URL: &str = "https://127.0.0.1:1/";
const PASSWORD: &str = "p4ssword-s3ntinel";
/// base64 of 32 times `k`.
const STORE_KEY: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

/// The replies to come, one for each command. When they have ended, the server closes its connections.
static REPLIES: Mutex<VecDeque<Vec<u8>>> = Mutex::new(VecDeque::new());
/// The port of the server.
static PORT: LazyLock<u16> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(thread::spawn(|| serve(stream))))
    });
    port
});

fn serve(mut stream: TcpStream) {
    // A client that waits for the rest of a reply sends nothing more.
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let (mut unread, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        unread.extend_from_slice(&buffer[..length]);
        while let Some(end) = end_of_command(&unread) {
            unread.drain(..end);
            let reply = REPLIES.lock().unwrap().pop_front();
            let written = reply.map(|reply| stream.write_all(&reply));
            if !matches!(written, Some(Ok(()))) {
                let _ = stream.shutdown(Shutdown::Write);
                return;
            }
        }
    }
}

/// Where the first command ends: an array of texts.
fn end_of_command(bytes: &[u8]) -> Option<usize> {
    let number = |from: usize| -> Option<(usize, usize)> {
        let length = bytes.get(from..)?.windows(2).position(|end| end == b"\r\n")?;
        let text = std::str::from_utf8(&bytes[from + 1..from + length]).ok()?;
        Some((text.parse().ok()?, from + length + 2))
    };
    let (count, mut at) = number(0)?;
    for _ in 0..count {
        let (length, start) = number(at)?;
        at = start + length + 2;
    }
    (at <= bytes.len()).then_some(at)
}

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (locks, is_sealed, generation) = (input.byte() % 4 == 3, input.flag(), input.u16());
    let payload = input.piece();
    let key = RecordKey::new(&BASE_URL.parse().unwrap(), "account-1", PUBLIC_KEY);
    let record = envelope(&key, generation.into(), payload, is_sealed);
    let record = [format!("${}\r\n", record.len()).as_bytes(), &record, b"\r\n"].concat();
    let texts = [&record[..], PASSWORD.as_bytes(), b"\r\n"];
    let mut replies = VecDeque::new();
    while !input.is_empty() && replies.len() < 16 {
        replies.push_back(expand(input.piece(), &texts));
    }
    *REPLIES.lock().unwrap() = replies;

    let begun = Instant::now();
    if let Err(error) = play(locks, is_sealed) {
        check_error(&error, &[PASSWORD, STORE_KEY]);
        assert!(
            matches!(
                error.status,
                Status::PG_ERR_STORE | Status::PG_ERR_STORE_REFUSED | Status::PG_ERR_STORE_KEY
            ),
            "{error:?}"
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "a server that says nothing more costs only a timeout"
    );
}

fn play(locks: bool, is_sealed: bool) -> Result<(), Error> {
    let mut config = Config::default();
    let store = format!("redis://shop:{PASSWORD}@127.0.0.1:{}/0", *PORT);
    for (name, value) in
        [("base_url", BASE_URL), ("account_id", "account-1"), ("public_key", PUBLIC_KEY), ("store", &store)]
    {
        config.set(name, value).unwrap();
    }
    if is_sealed {
        config.set("store_key", STORE_KEY).unwrap();
    }
    let client = Arc::<Client>::clone(&Client::new(&config).unwrap());
    let operator = Operator::open(&client, &config).unwrap();
    if locks {
        return operator.try_lock(Duration::from_millis(100)).map(drop);
    }
    let found = operator.look()?;
    assert!(!found.store_name.contains(PASSWORD));
    if let Some(committed) = found.loaded.committed {
        assert!(committed.token().lifetime.length <= DAY);
    }
    if let Some(refusal) = found.loaded.back_off {
        check_text(&refusal.error.text);
    }
    Ok(())
}
