//! Shared by the simulations: the service behind its network, clocks that are set, and the loop over histories.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::RefUnwindSafe;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use paymentsgate_auth::clock::{Clock, Moment};
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::protocol::{Call, Failure};
use paymentsgate_auth::secret::Wiped;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::{Fingerprint, Pair, RefreshToken};
use paymentsgate_auth::transport::{Exchange, Limit, RawResponse, Request, Sending, Transport};
use reqwest::header::{HeaderValue, RETRY_AFTER};

const PUBLIC_KEY: &str = "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KQUFBQQotLS0tLUVORCBQVUJMSUMgS0VZLS0tLS0K";
const LIMIT: Limit = Limit { setting: "max_response_bytes", bytes: 65_536 };
pub(crate) const HOUR: u64 = 3600;
/// A waiter is answered this long after its deadline at the latest.
pub(crate) const TOLERANCE: Duration = Duration::from_millis(50);
/// The start of a history: the machine has already run for a while.
pub(crate) const START: Moment =
    Moment { boot: Duration::from_secs(1000), wall: Duration::from_secs(1_700_000_000) };

/// The memory store and the scripted transport are always ready.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a simulated operation waits"),
    }
}

struct At(Moment);

impl Clock for At {
    fn now(&self) -> Moment {
        self.0
    }
}

/// Hands the request to the simulated service.
struct Wire<'a>(Mutex<&'a mut Service>, Moment);

impl Transport for Wire<'_> {
    fn send(&self, request: Request) -> Sending<'_> {
        let reply = self.0.lock().unwrap().serve(&request, self.1);
        Box::pin(std::future::ready(reply))
    }
}

/// The service with its network: single-use refresh tokens, one account, and a probability of failures.
pub(crate) struct Service {
    rng: Rng,
    /// The probability that a call fails, from 0 to 1.
    pub(crate) trouble: f64,
    /// The credentials are refused.
    pub(crate) is_locked: bool,
    pub(crate) lifetime: u64,
    pub(crate) minted: u64,
    pub(crate) good: BTreeSet<String>,
    pub(crate) presented: BTreeMap<String, u32>,
    /// How often one refresh token may be presented: twice if the session replays it.
    pub(crate) most_presentations: u32,
    pub(crate) calls: u64,
    pub(crate) issues: u64,
    /// The access tokens, the newest last.
    made: Vec<Made>,
    /// Until when no call is expected if there is no newer pair: the service asked for a pause or refused the credentials.
    pub(crate) asked_until: Duration,
    /// When it asked for a pause, until the answer has arrived.
    asked_at: Option<Duration>,
    strikes: usize,
    /// The credentials have obtained a pair before.
    have_worked: bool,
}

/// An access token, as the service sees it.
struct Made {
    token: Fingerprint,
    at: Duration,
    is_good: bool,
    refused: Option<Duration>,
    /// The processes whose business calls were accepted with it.
    accepted_by: BTreeSet<u64>,
    /// How many tokens before it were refused young, in a row.
    row: u32,
}

impl Service {
    pub(crate) fn new(rng: Rng, lifetime: u64, most_presentations: u32) -> Self {
        Service {
            rng,
            trouble: 0.0,
            is_locked: false,
            lifetime,
            minted: 0,
            good: BTreeSet::new(),
            presented: BTreeMap::new(),
            most_presentations,
            calls: 0,
            issues: 0,
            made: Vec::new(),
            asked_until: Duration::ZERO,
            asked_at: None,
            strikes: 0,
            have_worked: false,
        }
    }

    /// Ends all existing tokens.
    pub(crate) fn revoke(&mut self) {
        self.good.clear();
        self.made.iter_mut().for_each(|made| made.is_good = false);
    }

    /// The credentials were replaced by others that have not worked yet.
    pub(crate) fn forget_credentials(&mut self) {
        (self.strikes, self.have_worked) = (0, false);
    }

    /// Whether a business call of this process with this token succeeds.
    pub(crate) fn accepts(&mut self, process: u64, token: &Fingerprint, now: Duration) -> bool {
        let lifetime = Duration::from_secs(self.lifetime);
        // A token that the history starts with is valid until its end.
        let Some(made) = self.made.iter_mut().find(|made| made.token == *token) else { return true };
        let is_good = made.is_good && now < made.at + lifetime;
        if is_good {
            made.accepted_by.insert(process);
        } else {
            made.refused.get_or_insert(now);
        }
        is_good
    }

    /// Until when a failing call is excused: the service asked for a pause, or refused its new tokens.
    pub(crate) fn excused_until(&self) -> Duration {
        let pause = self.last_used().and_then(|last| {
            let doubled = 1_u64 << last.row.checked_sub(1)?.min(6);
            Some(last.at + Duration::from_secs(doubled.min(60)).mul_f64(1.25))
        });
        self.asked_until.max(pause.unwrap_or_default())
    }

    /// The last token that reached a process; a token in a lost answer does not count.
    fn last_used(&self) -> Option<&Made> {
        self.made.iter().rev().find(|made| made.refused.is_some() || !made.accepted_by.is_empty())
    }

    /// Records a token that reached a process. It starts or continues a row of refused tokens.
    fn note_pair(&mut self, process: u64, token: Fingerprint, now: Duration) {
        let young = Duration::from_secs(30).min(Duration::from_secs(self.lifetime) / 4);
        let row = self.last_used().map_or(0, |last| match last.refused {
            Some(refused) if refused < last.at + young => {
                1 + if last.accepted_by.contains(&process) { last.row.min(1) } else { last.row }
            }
            _ => 0,
        });
        let accepted_by = BTreeSet::new();
        self.made.push(Made { token, at: now, is_good: true, refused: None, accepted_by, row });
    }

    /// A session has a pair: the pause that the service asked for ends.
    pub(crate) fn settle(&mut self) {
        (self.asked_until, self.strikes, self.have_worked) = (Duration::ZERO, 0, true);
    }

    /// The answers have arrived: the pause that they ask for starts now.
    pub(crate) fn was_heard(&mut self, now: Duration) {
        self.asked_until += self.asked_at.take().map_or(Duration::ZERO, |at| now - at);
    }

    fn ask_for_a_pause(&mut self, wait: u32, now: Moment) {
        self.asked_at = Some(now.boot);
        self.asked_until = self.asked_until.max(now.boot + Duration::from_secs(wait.into()));
    }

    /// The credentials are refused once more.
    fn strike(&mut self, now: Moment) {
        let waits: &[u32] = if self.have_worked { &[1, 5, 30, 120, 900] } else { &[30, 120, 900] };
        let wait = waits[self.strikes.min(waits.len() - 1)];
        self.strikes += 1;
        self.ask_for_a_pause(wait, now);
    }

    pub(crate) fn refresh(
        &mut self,
        process: u64,
        refresh: RefreshToken,
        now: Moment,
    ) -> Result<Pair, Failure> {
        self.answer(process, Call::Refresh { refresh, access: None }, now)
    }

    pub(crate) fn issue(&mut self, process: u64, now: Moment) -> Result<Pair, Failure> {
        self.issues += 1;
        self.answer(process, Call::Issue(Credentials::new("account", PUBLIC_KEY, "simulation").unwrap()), now)
    }

    fn answer(&mut self, process: u64, call: Call, now: Moment) -> Result<Pair, Failure> {
        let wire = Wire(Mutex::new(self), now);
        let result = ready(call.make(&wire, &At(now), LIMIT, Duration::from_secs(45), &[]));
        if let Ok(pair) = &result {
            self.note_pair(process, *pair.token.fingerprint(), now.boot);
        }
        result
    }

    fn pair(&mut self) -> String {
        self.minted += 1;
        let refresh = format!("r{}", self.minted);
        self.good.insert(refresh.clone());
        format!(
            r#"{{"access_token":"a{}","refresh_token":"{refresh}","expires_in":{}}}"#,
            self.minted, self.lifetime
        )
    }

    fn serve(&mut self, request: &Request, now: Moment) -> Exchange {
        self.calls += 1;
        let refresh = request.path.ends_with("refresh").then(|| {
            let body: serde_json::Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
            body["refresh_token"].as_str().unwrap().to_owned()
        });
        let failed = |sent: bool, status| Exchange {
            sent: sent.then_some(now),
            result: Err(Error::new(status, "simulated")),
        };
        let answered = |status: u16, body: String, retry_after: Option<String>| Exchange {
            sent: Some(now),
            result: Ok(RawResponse {
                status,
                headers: retry_after
                    .map(|wait| (RETRY_AFTER, HeaderValue::from_str(&wait).unwrap()))
                    .into_iter()
                    .collect(),
                body: Wiped::new(body.into_bytes()),
                ..RawResponse::default()
            }),
        };
        let refusal = r#"{"error":"NO","message":"no"}"#.to_owned();
        let mood = if self.rng.f64() < self.trouble { self.rng.u32(1..=8) } else { 0 };
        if mood == 1 {
            return failed(false, Status::PG_ERR_CONNECT);
        }
        if mood == 2 {
            let wait = self.rng.bool().then(|| self.rng.u32(1..90));
            self.ask_for_a_pause(wait.unwrap_or_default(), now);
            return answered(429, refusal, wait.map(|wait| wait.to_string()));
        }
        if self.is_locked && refresh.is_none() {
            self.strike(now);
            return answered(401, refusal, None);
        }
        if let Some(token) = &refresh {
            let times = self.presented.entry(token.clone()).or_default();
            *times += 1;
            let allowed = *times <= self.most_presentations;
            assert!(allowed, "invariant 1: the refresh token {token} is presented {times} times");
        }
        match mood {
            3 => return failed(true, Status::PG_ERR_CONNECTION_LOST),
            4 => return answered(503, String::new(), None),
            5 => return answered(404, refusal, None),
            6 if refresh.is_none() => {
                self.strike(now);
                return answered(401, refusal, None);
            }
            _ => {}
        }
        if refresh.is_some_and(|token| !self.good.remove(&token)) {
            return answered(401, refusal, None);
        }
        let pair = self.pair();
        match mood {
            // The service has rotated, and the answer is lost or broken.
            6 | 7 => failed(true, Status::PG_ERR_TIMEOUT),
            8 => answered(200, pair[..pair.len() - 3].to_owned(), None),
            _ => answered(200, pair, None),
        }
    }
}

/// Runs each history and adds up the results. A history that fails names its seed.
pub(crate) fn histories<const N: usize>(
    usual: u64,
    live: impl Fn(u64) -> [u64; N] + RefUnwindSafe,
) -> (usize, [u64; N]) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds: Vec<u64> = match number("PG_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("PG_HISTORIES").unwrap_or(usual)).collect(),
    };
    let mut total = [0; N];
    for seed in &seeds {
        let Ok(counts) = std::panic::catch_unwind(|| live(*seed)) else {
            panic!("this history fails: PG_SEED={seed}")
        };
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    (seeds.len(), total)
}
