//! Counts what the agent does, for Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listen::Role;

/// The answers of each service, by the first digit of the HTTP status.
#[derive(Default)]
pub(super) struct Counters {
    answers: [[AtomicU64; 5]; 3],
    refused: AtomicU64,
    connections: AtomicU64,
}

/// An open connection, counted until it is dropped.
pub(super) struct Connection<'a>(&'a Counters);

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    pub(super) fn answered(&self, role: Role, status: u16) {
        if let Some(count) = self.answers[role as usize].get((usize::from(status) / 100).wrapping_sub(1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A caller was refused: another host name, a web page, or a wrong secret.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connected(&self) -> Connection<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connection(self)
    }

    /// In the text format of Prometheus. docs/metrics.md describes them.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
            let _ = writeln!(text, "# HELP paymentsgate_auth_agent_{name} {help}");
            let _ = writeln!(text, "# TYPE paymentsgate_auth_agent_{name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "paymentsgate_auth_agent_{name}{labels} {value}");
            }
        };
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let answers: Vec<_> = Role::ALL
            .iter()
            .flat_map(|role| (1..=5).map(move |class| (role, class)))
            .map(|(role, class)| {
                let labels = format!("{{service=\"{}\",code=\"{class}xx\"}}", role.name());
                (labels, read(&self.answers[*role as usize][class - 1]))
            })
            .collect();
        family("answers_total", "counter", "Answers of the agent, by service and HTTP status.", &answers);
        let refused = [(String::new(), read(&self.refused))];
        family("refused_total", "counter", "Callers refused for their Host, Origin or secret.", &refused);
        let connections = [(String::new(), read(&self.connections))];
        family("connections", "gauge", "Open connections to the agent.", &connections);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_metric() {
        let page = include_str!("../../../docs/metrics.md");
        let text = Counters::default().text();
        for help in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, meaning) = help.split_once(' ').unwrap();
            assert!(
                page.contains(&format!("| `{name}` |")) && page.contains(meaning),
                "docs/metrics.md lacks: {help}"
            );
        }
    }

    #[test]
    fn answers_are_counted_by_service_and_class() {
        let counters = Counters::default();
        for status in [200, 204, 503, 99, 600] {
            counters.answered(Role::Proxy, status);
        }
        let open = counters.connected();
        let text = counters.text();
        assert!(
            text.contains("paymentsgate_auth_agent_answers_total{service=\"proxy\",code=\"2xx\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("{service=\"proxy\",code=\"5xx\"} 1\n"), "{text}");
        assert!(text.contains("{service=\"tokens\",code=\"2xx\"} 0\n"), "{text}");
        assert!(text.contains("paymentsgate_auth_agent_connections 1\n"), "{text}");
        drop(open);
        assert!(counters.text().contains("paymentsgate_auth_agent_connections 0\n"));
    }
}
