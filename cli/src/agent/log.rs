//! The agent's log, on standard error: a line for each message, as text or as JSON. No line holds a token.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use paymentsgate_auth::{Body, Error, Level, Operation, Queue, Session};
use serde::Serialize;

use super::system;
use crate::page::Color;

/// The session's events are polled at least this often; one that waits is seen at once.
const POLL: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy)]
pub(super) struct Log {
    as_json: bool,
    color: Color,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'a str,
    message: &'a str,
}

impl Log {
    pub(super) fn new(as_json: bool, color: Color) -> Self {
        Log { as_json, color }
    }

    pub(super) fn error(self, message: &str) {
        self.write("error", message);
    }

    pub(super) fn warn(self, message: &str) {
        self.write("warning", message);
    }

    pub(super) fn info(self, message: &str) {
        self.write("info", message);
    }

    fn write(self, level: &str, message: &str) {
        let line = if self.as_json {
            let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
            serde_json::to_string(&Line { time, level, message }).unwrap_or_default()
        } else {
            format!("{level}: {message}")
        };
        // A log that cannot be written must not stop the agent.
        let _ = writeln!(self.color.stream(std::io::stderr().lock()), "{line}");
    }
}

/// Writes the session's own log lines, until it is closed.
pub(super) fn follow(session: &Arc<Session>, log: Log) -> Result<(), Error> {
    let queue = Queue::default();
    session.subscribe(queue.begin(0, Operation::Subscription)?, Level::PG_LOG_INFO);
    let write = move || {
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
    };
    let started = std::thread::Builder::new().name("agent-log".into()).spawn(write);
    started.map(drop).map_err(|error| system("start a thread", &error))
}
