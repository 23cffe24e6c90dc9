//! A process of a history from inside: a program that makes a business call several times a second, whatever happens, and
//! obeys the commands of its world.

#![allow(unsafe_code, reason = "fork and signals have no safe wrapper")]

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::event::{Body, Operation};
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::token::Fingerprint;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::clock::{SharedClock, now};
use crate::oracle::DEADLINE;
use crate::user::How;

/// The environment of such a process: the settings of its session, one per line, and the file of the clock.
pub(crate) const SETTINGS: &str = "PG_EXPLORER_SETTINGS";
pub(crate) const CLOCK: &str = "PG_EXPLORER_CLOCK";
pub(crate) const READY: &str = "is ready";
/// The time between two calls, in milliseconds.
const PAUSE: std::ops::Range<u64> = 200..400;
/// A thread that sleeps this much too long runs on an overloaded machine.
const LATE: Duration = Duration::from_millis(500);
const HEARTBEAT: Duration = Duration::from_millis(50);

struct Program {
    config: Config,
    url: String,
    /// The credentials. A session from a pair has none.
    login: Option<Credentials>,
    clock: Arc<SharedClock>,
    session: Mutex<Option<Arc<Session>>>,
    seen: Mutex<VecDeque<Fingerprint>>,
    queue: Queue,
    /// The operations on the queue that have not ended, by their number.
    under_way: Mutex<BTreeMap<u64, Begun>>,
    numbers: AtomicU64,
    out: File,
}

/// A call that has started.
struct Begun {
    how: How,
    from: Duration,
    deadline: Duration,
}

/// Not a test, but the program of a process of a history.
#[test]
fn as_a_program() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    let mut config = Config::default();
    let settings: BTreeMap<_, _> = settings.lines().filter_map(|line| line.split_once('=')).collect();
    for (name, value) in &settings {
        config.set(name, value).unwrap();
    }
    let clock = std::env::var(CLOCK).unwrap();
    let program = Arc::new(Program {
        config,
        url: settings["base_url"].to_owned(),
        login: settings
            .get("account_id")
            .map(|account| Credentials::new(account, settings["public_key"], "explorer").unwrap()),
        clock: Arc::new(SharedClock::open(Path::new(&clock))),
        session: Mutex::default(),
        seen: Mutex::default(),
        queue: Queue::default(),
        under_way: Mutex::default(),
        numbers: AtomicU64::default(),
        out: File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap()),
    });
    // SAFETY: from here on a write to a file at its size limit is an error and does not end the process.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    program.tell(READY);
    let (caller, heart, listener) = (program.clone(), program.clone(), program.clone());
    thread::spawn(move || caller.call_on());
    thread::spawn(move || heart.beat());
    thread::spawn(move || {
        loop {
            listener.take_event();
        }
    });
    for line in std::io::stdin().lines().map_while(Result::ok) {
        program.obey(&line);
    }
    std::process::exit(0);
}

impl Program {
    /// Does not take the lock of the standard output, which can be held at a fork.
    fn tell(&self, line: &str) {
        let _ = (&self.out).write_all(format!("{line}\n").as_bytes());
    }

    fn call_on(self: Arc<Self>) {
        loop {
            let deadline = if fastrand::u8(0..10) == 0 { Duration::from_millis(300) } else { DEADLINE };
            self.clone().call(deadline);
            thread::sleep(Duration::from_millis(fastrand::u64(PAUSE)));
        }
    }

    /// Runs on its own thread, so that the next caller does not wait for this one.
    fn call(self: Arc<Self>, deadline: Duration) {
        thread::Builder::new().stack_size(512 << 10).spawn(move || self.call_here(deadline)).unwrap();
    }

    fn call_here(&self, deadline: Duration) {
        let call = Begun { how: How::drawn(), from: now(), deadline };
        self.tell(&format!("begin {}", call.from.as_micros()));
        let session = match self.session() {
            Ok(session) => session,
            Err(error) => return self.end(&call, Err(&error)),
        };
        let wallet = ApiRequest::new("GET", "/wallet", &[], None).unwrap();
        let operation = match call.how {
            How::Waits => {
                let answer = session.request(wallet, Some(deadline));
                return self.end(&call, answer.as_ref().map(|response| response.status));
            }
            How::OnQueue => Operation::Response,
            How::TokenOnQueue => Operation::Token,
        };
        let (number, how) = (self.numbers.fetch_add(1, Ordering::SeqCst), call.how);
        self.under_way.lock().unwrap().insert(number, call);
        let end = self.queue.begin(number, operation).unwrap();
        match how {
            How::TokenOnQueue => session.token_start(end, deadline, Duration::ZERO),
            _ => session.request_start(end, wallet, Some(deadline)),
        }
    }

    /// Takes the next end of an operation on the queue. A token counts as a success.
    fn take_event(&self) {
        let Some(event) = self.queue.poll(DEADLINE).unwrap() else { return };
        let call = self.under_way.lock().unwrap().remove(&event.id).expect("one end of each operation");
        match &event.body {
            Body::Response(answer) => self.end(&call, answer.as_ref().map(|response| response.status)),
            Body::Token(answer) => self.end(&call, answer.as_ref().map(|_| 200)),
            other => panic!("unexpected event: {other:?}"),
        }
    }

    fn end(&self, call: &Begun, outcome: Result<u16, &Error>) {
        let outcome = match outcome {
            Ok(status) => status.to_string(),
            Err(error) => format!("{:?} {:?} {}", error.status, error.retry_after, error.text),
        };
        let Begun { how, from, deadline } = call;
        let (from, to, deadline) = (from.as_micros(), now().as_micros(), deadline.as_micros());
        self.tell(&format!("call {from} {to} {deadline} {how:?} {outcome}"));
    }

    fn beat(&self) {
        loop {
            let before = now();
            thread::sleep(HEARTBEAT);
            let after = now();
            if after - before > LATE {
                self.tell(&format!("late {} {}", before.as_micros(), after.as_micros()));
            }
        }
    }

    /// The session, opened by the first caller; if it cannot be opened, the next caller tries again.
    fn session(&self) -> Result<Arc<Session>, Error> {
        let mut session = self.session.lock().unwrap();
        if session.is_none() {
            let url = self.url.parse().unwrap();
            let transport = self.config.transport(url, self.clock.clone())?;
            let client = Client::with_parts(&self.config, Box::new(transport), self.clock.clone())?;
            *session = Some(Arc::new(Session::open(&client, &self.config)?));
        }
        Ok(session.clone().unwrap())
    }

    /// The current token.
    fn token(&self) -> Option<Fingerprint> {
        let token = self.session().ok()?.token(Duration::ZERO, Duration::ZERO).ok()?;
        let token = *token.token.fingerprint();
        let mut seen = self.seen.lock().unwrap();
        if seen.back() != Some(&token) {
            seen.push_back(token);
        }
        Some(token)
    }

    fn reject(&self, token: Option<Fingerprint>) {
        if let (Some(token), Ok(session)) = (token, self.session()) {
            let _ = session.reject(token);
        }
    }

    fn obey(self: &Arc<Self>, line: &str) {
        let (what, number) = line.split_once(' ').unwrap_or((line, "0"));
        let number: u64 = number.parse().unwrap();
        match what {
            // Makes the session look at the clock, as the library's timer does after a suspension.
            "look" => drop(self.session().map(|session| session.generation_word())),
            "reject" => self.reject(self.token()),
            "reject-old" => {
                self.token();
                let oldest = self.seen.lock().unwrap().front().copied();
                self.reject(oldest);
            }
            "refresh" => {
                let program = self.clone();
                thread::spawn(move || drop(program.session().map(|session| session.refresh(DEADLINE))));
            }
            "credentials" => {
                let login = self.login.clone().unwrap();
                let _ = self.session().map(|session| session.set_credentials(login));
            }
            "reopen" => {
                let session = self.session.lock().unwrap().take();
                session.map(|session| session.close(Duration::from_millis(number)));
            }
            "burst" => (0..number).for_each(|_| self.clone().call(DEADLINE)),
            "no-descriptors" => self.without_descriptors(Duration::from_millis(number)),
            "no-room" => refuse(Resource::Fsize, 0, Duration::from_millis(number)),
            "fork" => self.fork(Duration::from_millis(number)),
            _ => panic!("unknown command: {line}"),
        }
    }

    /// Lowers the limit of descriptors: open ones stay open, and no others can be opened.
    fn without_descriptors(&self, so_long: Duration) {
        if let Ok(lowest) = File::open("/dev/null") {
            refuse(Resource::Nofile, lowest.as_raw_fd() as u64, so_long);
        }
    }

    /// Forks a child that makes calls for this long, while this process continues.
    fn fork(self: &Arc<Self>, so_long: Duration) {
        let _ = self.session();
        // Held by this thread across the fork, so that the child does not find it held by another thread.
        let session = self.session.lock().unwrap();
        let mut under_way = self.under_way.lock().unwrap();
        // SAFETY: glibc keeps its allocator usable in the child, which takes no lock that another thread may hold, and never
        // returns.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // The calls of the parent do not continue in the child.
            under_way.clear();
        }
        drop((session, under_way));
        if child == 0 {
            // The thread that would raise the limit again does not exist in the child.
            [Resource::Nofile, Resource::Fsize].into_iter().for_each(allow_all);
            let until = now() + so_long;
            while now() < until {
                self.call_here(DEADLINE);
                while !self.under_way.lock().unwrap().is_empty() {
                    self.take_event();
                }
                thread::sleep(Duration::from_millis(200));
            }
            // SAFETY: ends the child without the exit handlers of its parent.
            unsafe { libc::_exit(0) }
        }
        // SAFETY: reaps the child; the null pointer means that no status is wanted.
        thread::spawn(move || unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) });
    }
}

/// Lowers the limit for this long, and then raises it to the maximum.
fn refuse(what: Resource, most: u64, so_long: Duration) {
    setrlimit(what, Rlimit { current: Some(most), ..getrlimit(what) }).unwrap();
    thread::spawn(move || {
        thread::sleep(so_long);
        allow_all(what);
    });
}

fn allow_all(what: Resource) {
    let limit = getrlimit(what);
    setrlimit(what, Rlimit { current: limit.maximum, ..limit }).unwrap();
}
