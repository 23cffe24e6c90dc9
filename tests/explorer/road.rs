//! The road to a server: a port that forwards everything, and can be closed, stop, or lose its connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::server::ports;

const STACK: usize = 128 << 10;

pub(crate) struct Road {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    guard: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    server: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_open: bool,
    is_frozen: bool,
    /// Grows when the existing connections are lost.
    era: u64,
    connections: Vec<TcpStream>,
}

impl Road {
    pub(crate) fn to(server: u16) -> Self {
        let shared = Arc::new(Shared { server, state: Mutex::default(), changed: Condvar::new() });
        let listener = ports::listener();
        let port = listener.local_addr().unwrap().port();
        let road = Road { port, shared, guard: Mutex::default() };
        road.serve(listener);
        road
    }

    fn serve(&self, listener: TcpListener) {
        self.shared.state().is_open = true;
        let shared = self.shared.clone();
        let guard = spawn(move || {
            for client in listener.incoming() {
                if !shared.state().is_open {
                    break;
                }
                if let Ok(client) = client {
                    shared.lead(client);
                }
            }
        });
        *self.guard.lock().unwrap() = Some(guard);
    }

    /// Refuses new connections and ends the existing ones.
    pub(crate) fn close(&self) {
        self.shared.state().is_open = false;
        // Wakes the acceptor thread, which closes the port.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(guard) = self.guard.lock().unwrap().take() {
            guard.join().unwrap();
        }
        self.cut();
    }

    pub(crate) fn open(&self) {
        // A child process has a copy of the old listener until its program starts.
        for _ in 0..200 {
            match TcpListener::bind(("127.0.0.1", self.port)) {
                Ok(listener) => return self.serve(listener),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    thread::sleep(Duration::from_millis(10))
                }
                Err(error) => panic!("the port {} cannot be opened again: {error}", self.port),
            }
        }
        panic!("something else listens on port {}", self.port);
    }

    /// All connections end.
    pub(crate) fn cut(&self) {
        for end in std::mem::take(&mut self.shared.state().connections) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Stops everything that passes, or lets it pass again. New connections are accepted and stop too.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        self.shared.state().is_frozen = is_frozen;
        self.shared.changed.notify_all();
    }

    /// Drops all bytes on the existing connections from now on; new connections work.
    pub(crate) fn forget(&self) {
        self.shared.state().era += 1;
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.freeze(false);
        self.close();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn lead(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)) else { return };
        let mut state = self.state();
        let era = state.era;
        // Connections that ended by themselves must not accumulate.
        if state.connections.len() > 200 {
            state.connections.retain(|end| end.peer_addr().is_ok());
        }
        for end in [&client, &server] {
            end.set_nodelay(true).unwrap();
            state.connections.push(end.try_clone().unwrap());
        }
        drop(state);
        let (there, back) = (self.clone(), self.clone());
        let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        spawn(move || there.pass(from, to, era));
        spawn(move || back.pass(server, client, era));
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, era: u64) {
        let mut piece = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let state = self.changed.wait_while(self.state(), |state| state.is_frozen).unwrap();
            let is_forgotten = state.era != era;
            drop(state);
            if !is_forgotten && to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        for end in [from, to] {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().stack_size(STACK).spawn(work).unwrap()
}
