//! Metrics in the text format of Prometheus (0.0.4), from one table for sessions and one for stores. The labels are a
//! session's number and the name of its record, which is a hash; they contain no secret.

use std::fmt::Write;
use std::sync::Arc;

use super::health::Health;
use super::registry::sessions_of;
use crate::client::Client;
use crate::clock::Moment;
use crate::error::Error;
use crate::store::{Committed, Inspection};

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value may rise and fall.
    Gauge,
    /// The value falls only when the process or the session starts again.
    Counter,
}

impl Kind {
    /// The name of the type in the text format.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        }
    }
}

/// One metric of a session or a store.
pub struct Metric<T> {
    /// The name, with the unit or `_total`.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The help text, in one line.
    pub help: &'static str,
    /// Reads the value; `None`: there is no sample.
    read: fn(&T) -> Option<f64>,
}

/// What a store holds of an account at one moment.
pub struct StoreSnapshot {
    /// What was found; `None`: the store could not be read.
    pub found: Option<Inspection>,
    /// The moment.
    pub now: Moment,
}

/// The metric of the library itself.
pub const BUILD_INFO: &str = "paymentsgate_auth_build_info";
const BUILD_INFO_HELP: &str = "1, with the version of the library.";

/// The metrics of each session. The names follow the keys of its health.
pub const SESSION_METRICS: &[Metric<Health>] = &[
    gauge(
        "session_phase",
        "The phase of the token: 0 fresh, 1 advisory, 2 mandatory, 3 expired or no token.",
        |health| Some(f64::from(health.phase as u8)),
    ),
    gauge("session_generation", "The generation of the token; 0: none yet.", |health| {
        count(health.generation)
    }),
    gauge("session_token_remaining_seconds", "Seconds until the token expires.", |health| {
        count(health.seconds_left)
    }),
    gauge("session_refresh_token_held", "1: the session has a refresh token for the next pair.", |health| {
        flag(health.has_refresh_token)
    }),
    gauge("session_refreshing", "1: a refresh or issue is running.", |health| flag(health.refreshing)),
    gauge("session_obstacle", "1: the session waits before it calls the service again.", |health| {
        flag(health.obstacle.is_some())
    }),
    gauge(
        "session_obstacle_remaining_seconds",
        "How long the session still waits, if the wait ends by itself.",
        |health| health.obstacle_seconds_left.and_then(count),
    ),
    gauge("session_last_refresh_age_seconds", "How long ago the last renewal ended.", |health| {
        count(health.last_refresh.as_ref()?.seconds_ago)
    }),
    gauge("session_last_refresh_duration_seconds", "How long the last renewal took.", |health| {
        Some(count(health.last_refresh.as_ref()?.took_ms)? / 1000.0)
    }),
    gauge("session_last_refresh_succeeded", "1: the last renewal obtained a token.", |health| {
        flag(health.last_refresh.as_ref()?.succeeded)
    }),
    gauge(
        "session_clock_skew_seconds",
        "How far the service's clock was ahead of this machine's when the token came.",
        |health| health.clock_skew_seconds.map(|seconds| seconds as f64),
    ),
    gauge(
        "session_lifetime_disagreement_seconds",
        "How much the service's own statements of the token's lifetime differ, if by more than a minute.",
        |health| count(health.lifetime_disagreement_seconds),
    ),
    gauge(
        "session_file_error",
        "1: a replaced file of the settings cannot be used, and its earlier content stays in use; file_error in the health says why.",
        |health| flag(health.file_error.is_some()),
    ),
    counter(
        "session_served_total",
        "Callers that got a token from memory. A program that uses the generation word (Python, Go) counts once per token.",
        |health| count(health.counters.served),
    ),
    counter("session_waited_total", "Callers that had to wait.", |health| count(health.counters.waited)),
    counter("session_refreshes_total", "Refresh calls to the service.", |health| {
        count(health.counters.refreshes)
    }),
    counter("session_issues_total", "Issue calls to the service.", |health| count(health.counters.issues)),
    counter("session_refused_total", "Refresh tokens that the service refused.", |health| {
        count(health.counters.refused)
    }),
    counter("session_ambiguous_total", "Refreshes whose answer was lost.", |health| {
        count(health.counters.ambiguous)
    }),
    counter("session_rejected_total", "Reports that the service refused the current token.", |health| {
        count(health.counters.rejected)
    }),
    counter("session_failed_total", "Renewals that failed.", |health| count(health.counters.failed)),
];

/// The metrics of an account's record in a store.
pub const STORE_METRICS: &[Metric<StoreSnapshot>] = &[
    gauge("store_up", "1: the store could be read.", |snapshot| flag(snapshot.found.is_some())),
    gauge("store_generation", "The generation of the pair in the store; absent: none.", |snapshot| {
        count(snapshot.committed()?.generation())
    }),
    gauge("store_token_expiry_timestamp_seconds", "When the token in the store expires.", |snapshot| {
        let remaining = snapshot.committed()?.token().remaining(snapshot.now);
        count((snapshot.now.wall + remaining).as_secs())
    }),
    gauge(
        "store_refresh_token_held",
        "1: the store holds a refresh token that may be presented.",
        |snapshot| {
            flag(snapshot.found.as_ref()?.loaded.committed.as_ref().is_some_and(|held| held.has_refresh))
        },
    ),
    gauge(
        "store_refresh_token_taken",
        "1: a process has taken the refresh token and has not reported the result.",
        |snapshot| flag(snapshot.found.as_ref()?.intent.is_some()),
    ),
    gauge(
        "store_credentials_strikes",
        "How often in a row the service refused the credentials.",
        |snapshot| {
            let refusal = snapshot.found.as_ref()?.loaded.back_off.as_ref();
            count(
                refusal
                    .filter(|refusal| refusal.until > snapshot.now.boot)
                    .map_or(0, |refusal| refusal.strikes as u64),
            )
        },
    ),
];

const fn gauge<T>(name: &'static str, help: &'static str, read: fn(&T) -> Option<f64>) -> Metric<T> {
    Metric { name, kind: Kind::Gauge, help, read }
}

const fn counter<T>(name: &'static str, help: &'static str, read: fn(&T) -> Option<f64>) -> Metric<T> {
    Metric { name, kind: Kind::Counter, help, read }
}

/// A float is exact up to 2^53; no counter of the library gets there.
fn count(number: u64) -> Option<f64> {
    Some(number as f64)
}

fn flag(condition: bool) -> Option<f64> {
    Some(f64::from(u8::from(condition)))
}

impl StoreSnapshot {
    fn committed(&self) -> Option<&Committed> {
        self.found.as_ref()?.loaded.committed.as_ref()
    }
}

/// The metrics of all sessions of a client that have been used in this process and are not closed.
pub fn of_client(client: &Arc<Client>) -> Result<String, Error> {
    let open = sessions_of(client)?.into_iter().filter(|(_, driver)| !driver.is_closed());
    let sessions: Vec<_> = open
        .map(|(number, driver)| {
            (format!("session=\"{number}\",login=\"{}\"", driver.record_name()), driver.health())
        })
        .collect();
    let mut text = String::new();
    write_family(&mut text, BUILD_INFO, Kind::Gauge, BUILD_INFO_HELP, || {
        let version = env!("CARGO_PKG_VERSION");
        [(format!("version=\"{version}\""), 1.0)].into_iter()
    });
    write_all(&mut text, SESSION_METRICS, &sessions);
    Ok(text)
}

/// The metrics of one account's record in a store.
pub(super) fn of_store(login: &str, snapshot: StoreSnapshot) -> String {
    let mut text = String::new();
    write_all(&mut text, STORE_METRICS, &[(format!("login=\"{login}\""), snapshot)]);
    text
}

fn write_all<T>(text: &mut String, metrics: &[Metric<T>], subjects: &[(String, T)]) {
    for Metric { name, kind, help, read } in metrics {
        write_family(text, &format!("paymentsgate_auth_{name}"), *kind, help, || {
            subjects.iter().filter_map(|(labels, subject)| Some((labels.clone(), read(subject)?)))
        });
    }
}

/// A metric without samples is left out completely.
fn write_family<S: Iterator<Item = (String, f64)>>(
    text: &mut String,
    name: &str,
    kind: Kind,
    help: &str,
    samples: impl FnOnce() -> S,
) {
    let mut samples = samples().peekable();
    if samples.peek().is_some() {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
    }
    for (labels, value) in samples {
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::expiry::Lifetime;
    use crate::secret::Secret;
    use crate::session::health::{Counters, LastRefresh};
    use crate::session::phase::Phase;
    use crate::status::Status;
    use crate::store::{Loaded, Refusal};
    use crate::token::Token;

    fn health() -> Health {
        let mut counters = Counters::default();
        counters.served = 12;
        Health {
            phase: Phase::Mandatory,
            generation: 3,
            fingerprint: Some("0011223344556677".into()),
            seconds_left: 90,
            has_refresh_token: true,
            refreshing: false,
            obstacle: None,
            obstacle_seconds_left: None,
            last_refresh: Some(LastRefresh {
                cause: "background",
                seconds_ago: 7,
                took_ms: 1250,
                succeeded: false,
            }),
            clock_skew_seconds: Some(-2),
            lifetime_disagreement_seconds: 0,
            lifetime_remark: None,
            file_error: None,
            last_error: Some("text".into()),
            refused_young: 0,
            replacement_seconds_left: None,
            store_error: None,
            counters,
        }
    }

    fn rendered(subjects: &[(String, Health)]) -> String {
        let mut text = String::new();
        write_all(&mut text, SESSION_METRICS, subjects);
        text
    }

    #[test]
    fn each_metric_is_written_once_with_a_line_for_each_session() {
        let second = Health { file_error: Some("text".into()), ..health() };
        let text = rendered(&[("session=\"1\"".into(), health()), ("session=\"2\"".into(), second)]);
        let family = "# HELP paymentsgate_auth_session_last_refresh_duration_seconds How long the last renewal took.\n\
                      # TYPE paymentsgate_auth_session_last_refresh_duration_seconds gauge\n\
                      paymentsgate_auth_session_last_refresh_duration_seconds{session=\"1\"} 1.25\n\
                      paymentsgate_auth_session_last_refresh_duration_seconds{session=\"2\"} 1.25\n";
        assert!(text.contains(family), "{text}");
        for line in [
            "paymentsgate_auth_session_phase{session=\"1\"} 2\n",
            "paymentsgate_auth_session_clock_skew_seconds{session=\"2\"} -2\n",
            "paymentsgate_auth_session_last_refresh_succeeded{session=\"1\"} 0\n",
            "paymentsgate_auth_session_file_error{session=\"1\"} 0\n",
            "paymentsgate_auth_session_file_error{session=\"2\"} 1\n",
            "# TYPE paymentsgate_auth_session_served_total counter\n",
            "paymentsgate_auth_session_served_total{session=\"1\"} 12\n",
        ] {
            assert!(text.contains(line), "{line}?\n{text}");
        }
        assert!(!text.contains("obstacle_remaining"), "there is no obstacle:\n{text}");
        assert!(!text.contains("0011223344556677") && !text.contains("text"), "{text}");
        assert_eq!(rendered(&[]), "");
    }

    #[test]
    fn the_metrics_of_a_store_are_those_of_its_record() {
        let seconds = Duration::from_secs;
        let now = Moment { boot: seconds(100), wall: seconds(5000) };
        let token = Token::new(Secret::new("a").unwrap(), Lifetime::of(seconds(3600)), now);
        let rendered = |until| {
            let refusal = Refusal { strikes: 2, until, error: Error::new(Status::PG_ERR_REFUSED, "no") };
            let committed = Some(Committed::private(token.clone(), 7));
            let loaded = Loaded { committed, back_off: Some(refusal), has_worked: true };
            of_store("0a", StoreSnapshot { found: Some(Inspection { loaded, ..Inspection::default() }), now })
        };
        let text = rendered(seconds(101));
        for sample in [
            "up{login=\"0a\"} 1",
            "generation{login=\"0a\"} 7",
            "token_expiry_timestamp_seconds{login=\"0a\"} 8600",
            "refresh_token_held{login=\"0a\"} 0",
            "refresh_token_taken{login=\"0a\"} 0",
            "credentials_strikes{login=\"0a\"} 2",
        ] {
            assert!(text.contains(&format!("\npaymentsgate_auth_store_{sample}\n")), "{sample}?\n{text}");
        }
        assert!(rendered(seconds(100)).ends_with("credentials_strikes{login=\"0a\"} 0\n"), "it is over");
        let unreadable = of_store("0a", StoreSnapshot { found: None, now });
        assert!(unreadable.ends_with("store_up{login=\"0a\"} 0\n"), "nothing else: {unreadable}");
    }

    #[test]
    fn names_have_the_form_that_prometheus_requires() {
        let all = SESSION_METRICS.iter().map(|metric| (metric.name, metric.kind, metric.help));
        let all: Vec<_> =
            all.chain(STORE_METRICS.iter().map(|metric| (metric.name, metric.kind, metric.help))).collect();
        let names: BTreeSet<_> = all.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), all.len(), "a duplicate name");
        for (name, kind, help) in all {
            assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n']), "{help}");
        }
    }
}
