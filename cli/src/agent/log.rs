//! The agent's log, on standard error: a line for each message, as text or as JSON. No line holds a token.
//!
//! A thread writes it. Where nobody reads the log, lines are dropped and counted, and the agent goes on.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use paymentsgate_auth::{Body, Error, Level, Operation, Queue, Session};
use serde::Serialize;

use super::system;
use crate::page::Color;

/// The session's events are polled at least this often; one that waits is seen at once.
const POLL: Duration = Duration::from_secs(3600);
/// How many lines may wait to be written.
const WAITING: usize = 1024;
/// How long the last lines may take.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Log {
    as_json: bool,
    lines: SyncSender<Work>,
    dropped: Arc<AtomicU64>,
}

enum Work {
    Write(String),
    /// Everything before has been written when this is received.
    Report(SyncSender<()>),
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'a str,
    message: &'a str,
}

impl Log {
    pub(super) fn start(as_json: bool, color: Color) -> Result<Self, Error> {
        let (lines, works) = sync_channel(WAITING);
        let log = Log { as_json, lines, dropped: Arc::default() };
        let dropped = log.dropped.clone();
        start_thread("agent-log", move || write_all(&works, &dropped, as_json, color))?;
        Ok(log)
    }

    pub(super) fn error(&self, message: &str) {
        self.put("error", message);
    }

    pub(super) fn warn(&self, message: &str) {
        self.put("warn", message);
    }

    pub(super) fn info(&self, message: &str) {
        self.put("info", message);
    }

    fn put(&self, level: &str, message: &str) {
        if self.lines.try_send(Work::Write(line(self.as_json, level, message))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits a moment for the lines that are not written yet.
    pub(super) fn finish(&self) {
        let (written, wait) = sync_channel(1);
        if self.lines.try_send(Work::Report(written)).is_ok() {
            let _ = wait.recv_timeout(LAST_LINES);
        }
    }
}

fn line(as_json: bool, level: &str, message: &str) -> String {
    if !as_json {
        return format!("{level}: {message}");
    }
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    serde_json::to_string(&Line { time, level, message }).unwrap_or_default()
}

fn write_all(works: &Receiver<Work>, dropped: &AtomicU64, as_json: bool, color: Color) {
    for work in works {
        let mut output = color.stream(std::io::stderr().lock());
        match work {
            // A log that cannot be written must not stop the agent.
            Work::Write(line) => drop(writeln!(output, "{line}")),
            Work::Report(written) => drop(written.send(())),
        }
        let dropped = dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text =
                format!("{dropped} lines of this log were dropped, because they were not read in time");
            let _ = writeln!(output, "{}", line(as_json, "warn", &text));
        }
    }
}

/// Writes the session's own log lines, until it is closed.
pub(super) fn follow(session: &Arc<Session>, log: Log) -> Result<(), Error> {
    let queue = Queue::default();
    session.subscribe(queue.begin(0, Operation::Subscription)?, Level::PG_LOG_INFO);
    start_thread("agent-session", move || {
        while let Ok(event) = queue.poll(POLL) {
            match event.map(|event| event.body) {
                Some(Body::Log(level, text)) => match level {
                    Level::PG_LOG_ERROR => log.error(&text),
                    Level::PG_LOG_WARN => log.warn(&text),
                    _ => log.info(&text),
                },
                Some(Body::Ended(_)) => return,
                _ => {}
            }
        }
    })
}

fn start_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let started = thread::Builder::new().name(name.into()).spawn(work);
    started.map(drop).map_err(|error| system("start a thread", &error))
}
