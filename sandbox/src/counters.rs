//! Counts of everything that the emulator has received, for tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::route::Route;

/// Everything counted since the start or the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Calls by route.
    pub routes: BTreeMap<Route, RouteCounters>,
    /// Pairs that an issue made, whether or not the answer arrived.
    pub pairs_issued: u64,
    /// Pairs that a refresh made, whether or not the answer arrived.
    pub pairs_refreshed: u64,
    /// How often each refresh token was presented, by its fingerprint: the first 64 bits of its SHA-256.
    pub refresh_tokens: BTreeMap<String, u64>,
    /// The highest of these numbers.
    pub most_presentations: u64,
    /// The most refreshes that ran at one time.
    pub most_refreshes_at_once: u64,
    /// TCP connections accepted.
    pub connections: BTreeMap<Listener, u64>,
    /// TLS handshakes completed.
    pub tls_handshakes: u64,
    /// Handshakes that resumed an earlier session.
    pub tls_resumed: u64,
    /// Calls by HTTP version.
    pub http_versions: BTreeMap<String, u64>,
    /// Tunnels that the proxy opened.
    pub proxy_tunnels: u64,
    /// Tunnels that the proxy refused.
    pub proxy_refusals: u64,
    /// Pay-ins executed.
    pub payins: u64,
    /// Pay-ins answered with the first answer, since their `invoiceId` was known.
    pub duplicate_payins: u64,
    /// Requests that reached the second host.
    pub foreign: u64,
}

/// The calls of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteCounters {
    /// Requests whose head arrived.
    pub calls: u64,
    /// How they ended: a status, the name of the fault (for a spoilt body its form), or `unread` if the body
    /// did not arrive completely.
    pub outcomes: BTreeMap<String, u64>,
    /// The last request; its body is empty if it was not read.
    pub last: Option<Call>,
}

/// One of the ports of the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listener {
    /// HTTPS with a good certificate.
    Https,
    /// Plain HTTP.
    Http,
    /// HTTPS with an expired certificate.
    Expired,
    /// HTTPS with a self-signed certificate.
    SelfSigned,
    /// HTTPS with a certificate for another name.
    WrongName,
    /// HTTPS that requires a client certificate.
    ClientCertificate,
    /// The forward proxy.
    Proxy,
}

impl Counters {
    /// The calls of one route.
    pub fn route(&self, route: Route) -> RouteCounters {
        self.routes.get(&route).cloned().unwrap_or_default()
    }

    /// How many calls reached a route.
    pub fn calls(&self, route: Route) -> u64 {
        self.route(route).calls
    }

    /// How many calls of a route ended this way.
    pub fn outcomes(&self, route: Route, outcome: &str) -> u64 {
        self.route(route).outcomes.get(outcome).copied().unwrap_or_default()
    }

    pub(crate) fn arrived(&mut self, route: Route, call: Call) {
        *self.http_versions.entry(call.version.clone()).or_default() += 1;
        let seen = self.routes.entry(route).or_default();
        seen.calls += 1;
        seen.last = Some(call);
    }

    pub(crate) fn was_read(&mut self, route: Route, call: &Call) {
        self.routes.entry(route).or_default().last = Some(call.clone());
    }

    pub(crate) fn presented(&mut self, fingerprint: String) {
        let times = self.refresh_tokens.entry(fingerprint).or_default();
        *times += 1;
        self.most_presentations = self.most_presentations.max(*times);
    }

    pub(crate) fn ended(&mut self, route: Route, outcome: String) {
        *self.routes.entry(route).or_default().outcomes.entry(outcome).or_default() += 1;
    }

    pub(crate) fn connected(&mut self, listener: Listener) {
        *self.connections.entry(listener).or_default() += 1;
    }
}
