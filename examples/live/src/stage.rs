//! Runs the story: the emulator, a session, some callers, and a clock that is advanced by hand. The clock stands still while
//! callers wait, so that a slow machine gives the same result.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use paymentsgate_auth::{
    ApiRequest, Body, BootId, Client, Clock, Config, Level, Moment, Operation, Queue, Session, SystemClock,
};
use pg_sandbox::{Action, Fault, Options, Point, Revoke, Route, Sandbox};

use crate::scene::{Kind, Line, Scene};
use crate::story::{Happening, STEP, STORY};

const CALLERS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);

/// The machine's clocks plus an offset.
#[derive(Default)]
struct FastClock {
    ahead_s: AtomicU64,
}

impl Clock for FastClock {
    fn now(&self) -> Moment {
        let ahead = Duration::from_secs(self.ahead_s.load(Ordering::SeqCst));
        let Moment { boot, wall } = SystemClock.now();
        Moment { boot: boot + ahead, wall: wall + ahead }
    }

    fn boot_id(&self) -> Option<BootId> {
        SystemClock.boot_id()
    }
}

pub(crate) struct Stage {
    sandbox: Sandbox,
    clock: Arc<FastClock>,
    session: Session,
    events: Queue,
    pub(crate) scene: Scene,
}

impl Stage {
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let sandbox = Sandbox::start(Options::default())?;
        let (address, url) = (sandbox.address(), &sandbox.urls().https);
        let mut config = Config::default();
        config.set("base_url", url)?;
        config.set("tls.ca_file", &address.ca_file.to_string_lossy())?;
        config.set("credentials_file", &address.credentials_file.to_string_lossy())?;
        let clock = Arc::<FastClock>::default();
        let transport = config.transport(url.parse()?, clock.clone())?;
        let client = Client::with_parts(&config, Box::new(transport), clock.clone())?;
        let session = Session::open(&client, &config)?;
        let events = Queue::default();
        session.subscribe(events.begin(1, Operation::Subscription)?, Level::PG_LOG_INFO);
        let scene = Scene {
            now: Duration::ZERO,
            health: session.health()?,
            lifetime: Duration::ZERO,
            is_network_up: true,
            tokens: 0,
            answered: 0,
            unreached: 0,
            outages: 0,
            issues: 0,
            refreshes: 0,
            most_presentations: 0,
            lines: Vec::new(),
        };
        Ok(Stage { sandbox, clock, session, events, scene })
    }

    /// Runs the incident of this moment. Then every caller asks for a token and for its wallet. Then the clock advances.
    pub(crate) fn step(&mut self) -> Result<(), Box<dyn Error>> {
        let now = self.scene.now;
        for (_, happening) in STORY.iter().filter(|(at, _)| *at == now) {
            self.say(Kind::Story, happening.text().into());
            self.bring_about(*happening)?;
        }
        // Makes the library read its clock now, because the clock has jumped.
        self.session.generation_word();
        for seen in self.ask()? {
            self.count(seen);
        }
        self.listen()?;
        let counters = self.sandbox.counters();
        self.scene.issues = counters.calls(Route::Issue);
        self.scene.refreshes = counters.calls(Route::Refresh);
        self.scene.most_presentations = counters.most_presentations;
        self.scene.health = self.session.health()?;
        self.clock.ahead_s.fetch_add(STEP.as_secs(), Ordering::SeqCst);
        self.sandbox.advance(STEP);
        self.scene.now += STEP;
        Ok(())
    }

    fn bring_about(&mut self, happening: Happening) -> Result<(), Box<dyn Error>> {
        match happening {
            Happening::Revocation => {
                let token = self.session.token(PATIENCE, Duration::ZERO)?;
                self.sandbox.revoke(&Revoke::AccessToken(token.token.access.expose().to_owned()));
            }
            Happening::NetworkDown => {
                self.sandbox.inject(Fault::new(Route::Any, Action::Reset).at(Point::Accept).forever())?;
                self.sandbox.inject(Fault::new(Route::Any, Action::Reset).at(Point::Head).forever())?;
                self.scene.is_network_up = false;
            }
            Happening::NetworkUp => {
                self.sandbox.clear_faults();
                self.scene.is_network_up = true;
            }
            Happening::LostAnswer => {
                self.sandbox.inject(Fault::new(Route::Refresh, Action::Reset).at(Point::After))?;
            }
        }
        Ok(())
    }

    /// Runs all callers at once. Returns the result of each.
    fn ask(&mut self) -> Result<Vec<Seen>, Box<dyn Error>> {
        let session = &self.session;
        let call = move || {
            let token = session.token(PATIENCE, Duration::ZERO).map_err(|_| Seen::NoToken)?;
            let wallet = ApiRequest::new("GET", "/wallet", &[], None).map_err(|_| Seen::NoToken)?;
            let lifetime = token.token.lifetime.length;
            match session.request(wallet, Some(PATIENCE)) {
                Ok(answer) if answer.status == 200 => Ok(Seen::Answer(lifetime)),
                Err(error) if error.status.is_transient() => Ok(Seen::Unreached),
                Ok(_) | Err(_) => Ok(Seen::Refused),
            }
        };
        Ok(thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
            callers
                .into_iter()
                .map(|caller| caller.join().unwrap_or(Ok(Seen::NoToken)).unwrap_or_else(|seen| seen))
                .collect()
        }))
    }

    fn count(&mut self, seen: Seen) {
        let scene = &mut self.scene;
        scene.tokens += u64::from(!matches!(seen, Seen::NoToken));
        match seen {
            Seen::Answer(lifetime) => {
                scene.answered += 1;
                scene.lifetime = lifetime;
            }
            // Without a network the callers ask only for a token.
            Seen::Unreached if !scene.is_network_up => scene.unreached += 1,
            Seen::Unreached | Seen::Refused | Seen::NoToken => scene.outages += 1,
        }
    }

    fn listen(&mut self) -> Result<(), Box<dyn Error>> {
        while let Some(event) = self.events.poll(Duration::ZERO)? {
            if let Body::Log(level, text) = event.body {
                let kind = if level <= Level::PG_LOG_WARN { Kind::Warning } else { Kind::Log };
                self.say(kind, text);
            }
        }
        Ok(())
    }

    fn say(&mut self, kind: Kind, text: String) {
        self.scene.lines.push(Line { at: self.scene.now, kind, text });
    }
}

/// The result of a caller.
enum Seen {
    /// A token with this lifetime, and an answer.
    Answer(Duration),
    /// A token, but no connection to the service.
    Unreached,
    /// A token that the service refused.
    Refused,
    NoToken,
}
