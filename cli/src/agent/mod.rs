//! `agent`: one session for every program of a machine or a pod: tokens on a socket, and a proxy that adds them to requests.
//!
//! In reading order: `listen` (the sockets), `caller` (who may ask), `server` (connections and the end), `tokens`, `health` and
//! `proxy` (the three services), with `headers` and `body` for the proxy; `answer`, `counters` and `log`.

mod answer;
mod body;
mod caller;
mod counters;
mod headers;
mod health;
mod listen;
mod log;
mod proxy;
mod server;
mod tokens;

use std::future::pending;
use std::num::NonZero;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::{Client, Error, Forwarder, Secret, Session, Status};
#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use signal_hook::consts::SIGHUP;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{interval, sleep, sleep_until};

use crate::Trouble;
use crate::arguments::AgentArguments;
use crate::exec::is_ignored;
use crate::exit::Exit;
use crate::page::{Color, with_options};
use crate::settings::Settings;
use counters::Counters;
use listen::{Door, Sockets};
use log::Log;
use server::Server;

/// How long a caller waits for a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Descriptors for health, files, the store and the log.
const OTHER_DESCRIPTORS: u64 = 128;
/// The pause after a failure to obtain the first token, if the failure does not say how long to wait.
const FIRST_TOKEN_PAUSE: Duration = Duration::from_secs(5);

/// What the services share.
struct Agent {
    client: Arc<Client>,
    session: Arc<Session>,
    forwarder: Forwarder,
    /// What a caller over TCP must present for a token.
    secret: Option<Secret>,
    counters: Counters,
    log: Log,
}

pub(crate) fn run(arguments: &AgentArguments, settings: &Settings, color: Color) -> Result<Exit, Trouble> {
    let log = Log::start(arguments.json, color)?;
    match work(arguments, settings, &log) {
        // As every other line of the log.
        Err(error) if arguments.json => {
            log.error(&with_options(&error));
            log.finish();
            Ok(Exit::of(error.status))
        }
        ended => {
            log.finish();
            Ok(ended.map(|()| Exit::Done)?)
        }
    }
}

fn work(arguments: &AgentArguments, settings: &Settings, log: &Log) -> Result<(), Error> {
    let mut config = settings.config()?;
    // A token must be there when the next program asks, also after a quiet night.
    if settings.value("keep_warm").is_none() {
        config.set("keep_warm", "true")?;
    }
    settings.make_default_store()?;
    hide_memory(log);
    raise_limit(arguments.max_connections, log);
    let runtime = start_runtime()?;
    // Before the sockets: a signal must not leave their files behind.
    let stop = runtime.block_on(async { Stop::new() }).map_err(|error| system("receive signals", &error))?;
    let mut sockets = Sockets::open(arguments)?;
    let client = Client::new(&config)?;
    let session = Arc::new(Session::open(&client, &config)?);
    log::follow(&session, log.clone())?;
    let agent = Arc::new(Agent {
        forwarder: Forwarder::new(&session, &config)?,
        client,
        session,
        secret: sockets.secret.clone(),
        counters: Counters::default(),
        log: log.clone(),
    });
    let until = runtime.block_on(serve(&agent, arguments, &mut sockets, stop))?;
    // A refresh under way is given the rest of the time to save its pair.
    let closed = agent.session.close(until.saturating_duration_since(Instant::now()));
    closed.unwrap_or_else(|error| agent.log.warn(&error.text));
    Ok(())
}

/// Each connection may need a second one to the service. Without enough descriptors the probes would fail, too.
fn raise_limit(connections: u32, log: &Log) {
    let needed = u64::from(connections) * 2 + OTHER_DESCRIPTORS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return;
    }
    let wanted = maximum.map_or(needed, |maximum| needed.min(maximum));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    if raised.is_err() || wanted < needed {
        log.warn(&format!(
            "{connections} connections may need {needed} descriptors, and the limit is {}; raise it (ulimit -n, LimitNOFILE), or \
             lower --max-connections",
            if raised.is_err() { current.unwrap_or(wanted) } else { wanted }
        ));
    }
}

/// No core dump of this process, which has tokens in memory, and no debugger of the same user without root rights.
#[cfg(target_os = "linux")]
fn hide_memory(log: &Log) {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        log.warn(&format!("a core dump of the agent would have tokens (PR_SET_DUMPABLE: {error}); forbid core dumps (ulimit -c 0, LimitCORE=0)"));
    }
}

#[cfg(not(target_os = "linux"))]
fn hide_memory(_log: &Log) {}

/// tokio panics if one of its threads is refused. So as many threads are started before.
fn start_runtime() -> Result<Runtime, Error> {
    let count = thread::available_parallelism().map_or(1, NonZero::get);
    let together = Arc::new(Barrier::new(count));
    let tries = (0..count).map(|_| {
        let together = together.clone();
        thread::Builder::new().spawn(move || together.wait())
    });
    let threads: Vec<_> = tries.collect::<Result<_, _>>().map_err(|error| system("start threads", &error))?;
    threads.into_iter().for_each(|thread| drop(thread.join()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(count).enable_all().build();
    runtime.map_err(|error| system("start threads", &error))
}

/// Serves until a signal asks to stop; then ends when the requests under way have, or at the second signal. Returns when
/// the agent must have ended.
async fn serve(
    agent: &Arc<Agent>,
    arguments: &AgentArguments,
    sockets: &mut Sockets,
    mut stop: Stop,
) -> Result<Instant, Error> {
    let mut server = Server::new(agent, arguments.max_connections);
    for Door { role, socket, name } in sockets.take_doors() {
        agent.log.info(&format!("{} on {name}", role.name()));
        server.accept(role, socket)?;
    }
    tokio::spawn(obtain_first_token(agent.clone()));
    if let Some(limit) = sd_notify::watchdog_enabled() {
        tokio::spawn(feed_watchdog(limit / 2));
    }
    notify(&[NotifyState::Ready]);
    stop.requested().await;
    notify(&[NotifyState::Stopping]);
    agent.log.info("stopping: no new connections; requests under way go on");
    let until = Instant::now() + Duration::from_secs(arguments.drain_seconds);
    tokio::select! {
        () = server.drain() => {}
        () = sleep_until(until.into()) => agent.log.warn(&format!(
            "requests were still under way after {} s and are cut off; --drain-seconds gives them more time",
            arguments.drain_seconds
        )),
        () = stop.requested() => {
            agent.log.warn("a second signal: requests under way are cut off");
            return Ok(Instant::now());
        }
    }
    Ok(until)
}

/// SIGTERM, SIGINT, and SIGHUP unless it is ignored, as under nohup.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Stop {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if is_ignored(SIGHUP) { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn requested(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = hangup => {}
        }
    }
}

/// Obtains a token before the first program asks. From then on the session renews it by itself.
async fn obtain_first_token(agent: Arc<Agent>) {
    let mut reported = String::new();
    while let Err(error) = agent.session.token_async(TOKEN_TIMEOUT, Duration::ZERO).await {
        if error.status == Status::PG_ERR_CLOSED {
            return;
        }
        if error.text != reported {
            agent.log.error(&format!("no token yet: {}", error.text));
            reported = error.text;
        }
        sleep(error.retry_after.unwrap_or_default().max(FIRST_TOKEN_PAUSE)).await;
    }
}

async fn feed_watchdog(every: Duration) {
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

/// Tells the service manager. It may have gone, which changes nothing here.
fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

fn system(what: &str, error: &std::io::Error) -> Error {
    Error::new(Status::PG_ERR_SYSTEM, format!("cannot {what}: {error}"))
}
