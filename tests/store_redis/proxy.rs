//! A proxy in front of a Redis server, which loses, holds and counts commands.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use crate::support::PATIENCE;

/// The first words of each script, by which the proxy recognizes it.
pub(crate) const ACQUIRE: &str = "-- Takes the lease";
pub(crate) const LOAD: &str = "-- Reads the record";
pub(crate) const RENEW: &str = "-- Renews the lease";
pub(crate) const WRITE: &str = "-- Replaces the record";
pub(crate) const RELEASE: &str = "-- Frees the lease";

/// What happens to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Nothing; the next trouble is for a later command.
    None,
    /// The connection is cut before the command reaches the server.
    Cut,
    /// The server acts on it, and the connection is cut before the answer.
    CutAnswer,
    /// It reaches the server only when the test releases it.
    Hold,
    /// The answer is sent only when the test releases it.
    HoldAnswer,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    server: u16,
    /// What a command must contain, and what happens to it.
    troubles: VecDeque<(&'static str, Trouble)>,
    /// The pieces that clients sent. Each is one command, since a command is sent as one piece.
    questions: Vec<String>,
    struck: usize,
    goes_on: bool,
    /// After this many troubles no connection is accepted.
    refuses_after: Option<usize>,
    /// Accepts connections and lets nothing pass.
    is_frozen: bool,
}

impl Proxy {
    pub(crate) fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        shared.state().server = server;
        let here = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let server = TcpStream::connect(("127.0.0.1", here.state().server));
                if let (Ok(client), Ok(server), false) = (client, server, here.state().refuses()) {
                    here.serve(client, server);
                }
            }
        });
        Proxy { port, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Connects to another server from now on.
    pub(crate) fn set_server(&self, port: u16) {
        self.shared.state().server = port;
    }

    /// The next command that contains this text meets trouble, after the troubles set earlier.
    pub(crate) fn next(&self, question: &'static str, trouble: Trouble) {
        let mut state = self.shared.state();
        state.troubles.push_back((question, trouble));
        state.goes_on = false;
    }

    /// Waits until this many troubles have struck in total.
    pub(crate) fn await_struck(&self, times: usize) {
        let state = self.shared.state();
        let waited =
            self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.struck < times).unwrap();
        let (state, is_late) = (waited.0, waited.1.timed_out());
        assert!(!is_late, "{} of {times} struck; asked was {:?}", state.struck, state.questions);
    }

    pub(crate) fn struck(&self) -> usize {
        self.shared.state().struck
    }

    /// After this many troubles no connection is accepted; `None`: all are accepted.
    pub(crate) fn refuse_after(&self, struck: Option<usize>) {
        self.shared.state().refuses_after = struck;
    }

    /// Releases held commands and answers.
    pub(crate) fn go_on(&self) {
        self.shared.state().goes_on = true;
        self.shared.changed.notify_all();
    }

    /// Stops everything that passes, or lets it pass again.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        self.shared.state().is_frozen = is_frozen;
        self.shared.changed.notify_all();
    }

    /// The number of commands that contain this text.
    pub(crate) fn asked(&self, what: &str) -> usize {
        self.shared.state().questions.iter().filter(|question| question.contains(what)).count()
    }

    /// Resets the count of commands.
    pub(crate) fn forget(&self) {
        self.shared.state().questions.clear();
    }
}

impl State {
    fn refuses(&self) -> bool {
        self.refuses_after.is_some_and(|least| self.struck >= least)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn serve(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
        }
        let met = Arc::new(Mutex::new(None));
        let (up, down) = (self.clone(), self.clone());
        let (from, to, trouble) = (client.try_clone().unwrap(), server.try_clone().unwrap(), met.clone());
        thread::spawn(move || {
            up.pass(from, to, |question| {
                let found = up.trouble_of(question);
                let is_later = matches!(found, Some(Trouble::CutAnswer | Trouble::HoldAnswer));
                *trouble.lock().unwrap() = found.filter(|_| is_later);
                found.filter(|_| !is_later)
            });
        });
        thread::spawn(move || down.pass(server, client, |_| met.lock().unwrap().take()));
    }

    fn trouble_of(&self, question: &[u8]) -> Option<Trouble> {
        let question = String::from_utf8_lossy(question).into_owned();
        let mut state = self.state();
        let is_next = state.troubles.front().is_some_and(|(what, _)| question.contains(what));
        state.questions.push(question);
        is_next.then(|| state.troubles.pop_front().unwrap().1)
    }

    /// Forwards bytes piece by piece, until either end is closed.
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, meet: impl Fn(&[u8]) -> Option<Trouble>) {
        let mut piece = vec![0; 1 << 20];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let state = self.changed.wait_timeout_while(self.state(), PATIENCE * 10, |state| state.is_frozen);
            drop(state);
            let met = meet(&piece[..length]);
            if met.is_some() {
                self.state().struck += 1;
                self.changed.notify_all();
            }
            match met {
                Some(Trouble::Cut | Trouble::CutAnswer) => break,
                Some(Trouble::Hold | Trouble::HoldAnswer) => {
                    let held =
                        self.changed.wait_timeout_while(self.state(), PATIENCE * 10, |state| !state.goes_on);
                    drop(held);
                }
                Some(Trouble::None) | None => {}
            }
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        for end in [from, to] {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}
