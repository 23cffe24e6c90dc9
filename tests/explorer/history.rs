//! One history: a service with its switches, a store, some processes, and their incidents with times. Drawn from a seed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use pg_sandbox::{BearerOnRefresh, DateHeader, ExpiresInForm, Rotation, Switches};

use crate::incidents::{self, Frame, Incident, Planned, StoreKind};
use crate::oracle::REFRESH_TIMEOUT_MS;

#[derive(Clone)]
pub(crate) struct History {
    pub(crate) seed: u64,
    pub(crate) store: StoreKind,
    pub(crate) processes: usize,
    pub(crate) switches: Switches,
    /// The settings of every session.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Whether the first call is made before the first incident.
    pub(crate) is_warm: bool,
    /// Start and end of each time of incidents; a time of calm follows each.
    pub(crate) rounds: Vec<(u64, u64)>,
    /// The incidents, each with the number of its draw.
    pub(crate) incidents: Vec<(usize, Planned)>,
}

impl History {
    pub(crate) fn drawn(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let kinds = [StoreKind::Memory, StoreKind::File, StoreKind::Redis, StoreKind::Pair];
        let store = kinds[seed as usize % kinds.len()];
        let processes = rng.usize(1..4);
        let lifetime = [12, 20, 60, 300, 3600, 3600][rng.usize(0..6)];
        let mut begins = 0;
        let mut rounds = Vec::new();
        let mut planned: Vec<Planned> = Vec::new();
        for _ in 0..rng.usize(1..4) {
            let ends = begins + rng.u64(1500..6000);
            let frame = Frame { store, processes, lifetime, from: begins, to: ends };
            let count = rng.usize(1..7);
            planned.extend(incidents::draw(&mut rng, &frame, count));
            rounds.push((begins, ends));
            begins = ends;
        }
        let switches = match store {
            StoreKind::Pair => pair_switches(&mut rng, lifetime),
            _ => switches(&mut rng, lifetime),
        };
        if !switches.http2 {
            // HTTP/1.1 has no ping: a forgotten connection is noticed only if the network acknowledges nothing.
            let forgotten =
                |planned: &&mut Planned| matches!(planned.incident, Incident::ConnectionsForgotten);
            planned
                .iter_mut()
                .filter(forgotten)
                .for_each(|planned| planned.incident = Incident::ConnectionsCut);
        }
        History {
            seed,
            store,
            processes,
            switches,
            settings: settings(&mut rng, store, lifetime),
            is_warm: rng.u8(0..4) > 0,
            rounds,
            incidents: planned.into_iter().enumerate().collect(),
        }
    }

    /// The same history with only these incidents.
    pub(crate) fn only(&self, keep: &[usize]) -> Self {
        let mut less = self.clone();
        less.incidents.retain(|(number, _)| keep.contains(number));
        less
    }

    /// The same history without incidents whose name contains one of these words, to look past a known failure.
    pub(crate) fn without(&self, words: &str) -> Self {
        let mut less = self.clone();
        let is_left_out = |name: &str| words.split(',').any(|word| !word.is_empty() && name.contains(word));
        less.incidents.retain(|(_, planned)| !is_left_out(&planned.to_string()));
        less
    }

    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.incidents.iter().map(|(number, _)| *number).collect()
    }

    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
    }
}

fn switches(rng: &mut Rng, access_lifetime_s: u64) -> Switches {
    let one_in = |rng: &mut Rng, many: u8| rng.u8(0..many) == 0;
    Switches {
        access_lifetime_s,
        rotation: [Rotation::SingleUse, Rotation::SingleUse, Rotation::Window(10), Rotation::Static]
            [rng.usize(0..4)],
        reuse_revokes_family: rng.bool(),
        old_access_dies_on_refresh: rng.bool(),
        bearer_on_refresh: [BearerOnRefresh::Ignored, BearerOnRefresh::Required, BearerOnRefresh::Unexpired]
            [rng.usize(0..3)],
        date_header: [
            DateHeader::On,
            DateHeader::On,
            DateHeader::Off,
            DateHeader::SkewS(-300),
            DateHeader::SkewS(300),
        ][rng.usize(0..5)],
        jwt_exp: !one_in(rng, 4),
        jwt_iat: !one_in(rng, 4),
        opaque_access_token: one_in(rng, 4),
        expires_in_form: [
            ExpiresInForm::Number,
            ExpiresInForm::Number,
            ExpiresInForm::String,
            ExpiresInForm::Absent,
        ][rng.usize(0..4)],
        refused_status: [400, 401, 403, 404][rng.usize(0..4)],
        http2: !one_in(rng, 4),
        ..Switches::default()
    }
}

/// A service whose refresh token survives a lost answer in half of the histories, and whose own refusals differ from those
/// of a gateway by their status.
fn pair_switches(rng: &mut Rng, access_lifetime_s: u64) -> Switches {
    let long = Rotation::Window(1_000_000);
    Switches {
        rotation: [long, long, Rotation::Static, Rotation::SingleUse][rng.usize(0..4)],
        bearer_on_refresh: [BearerOnRefresh::Ignored, BearerOnRefresh::Required][rng.usize(0..2)],
        refused_status: [400, 401][rng.usize(0..2)],
        ..switches(rng, access_lifetime_s)
    }
}

fn settings(rng: &mut Rng, store: StoreKind, lifetime: u64) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if store == StoreKind::Pair {
        settings.push(("refresh_timeout_ms", REFRESH_TIMEOUT_MS.to_string()));
    }
    let is_age_known = store == StoreKind::Pair && rng.u8(0..4) > 0;
    if is_age_known {
        settings.push(("access_token_expires_in_s", lifetime.to_string()));
    }
    let mut maybe = |one_in: u8, name, value: &str| {
        if rng.u8(0..one_in) == 0 {
            settings.push((name, value.to_owned()));
        }
    };
    maybe(4, "keep_warm", "true");
    if store == StoreKind::Pair {
        return settings;
    }
    maybe(4, "on_ambiguous", "replay");
    maybe(4, "durability", "strict");
    maybe(4, "on_store_down", "fail");
    maybe(4, "send_bearer_on_refresh", "false");
    if store != StoreKind::Memory {
        maybe(4, "store_key", &STANDARD.encode([7; 32]));
    }
    settings
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let History { seed, store, processes, switches, settings, is_warm, .. } = self;
        let usual = serde_json::to_value(Switches::default()).unwrap();
        let switches = serde_json::to_value(switches).unwrap();
        let changed: Vec<_> = switches
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, value)| usual[name.as_str()] != **value)
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let settings: Vec<_> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        writeln!(
            f,
            "PG_SEED={seed}: {store:?}, {processes} processes, {}",
            if *is_warm { "warm" } else { "cold" }
        )?;
        writeln!(f, "  service  {}", changed.join(" "))?;
        writeln!(f, "  settings {}", settings.join(" "))?;
        for (number, planned) in &self.incidents {
            writeln!(f, "  [{number:2}] {planned}")?;
        }
        Ok(())
    }
}
