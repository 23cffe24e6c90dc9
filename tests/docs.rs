//! Documents that are made from the sources. `PG_UPDATE_DOCS=1 cargo test --test docs` (make generate) renews them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;

use paymentsgate_auth::session::metrics::{BUILD_INFO, Kind, SESSION_METRICS, STORE_METRICS};
use paymentsgate_auth::settings::SETTINGS;

#[test]
fn the_table_of_settings_is_the_librarys() {
    let mut page = String::from(
        "# Settings\n\n\
         Made from the library's own table; do not edit. From C: `pg_config_set(config, name, value, &error)`. From the \
         environment, by one explicit call (`pg_config_set_from_env`): the variable in the last column. A program can \
         read this table with `pg_setting_count` and its kin.\n\n\
         | setting | type | default | what it does | values | variable |\n|---|---|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default =
            if setting.default.is_empty() { "—".into() } else { format!("`{}`", setting.default) };
        page += &format!(
            "| `{}` | {} | {default} | {} | {} | `{}` |\n",
            setting.name,
            setting.kind.name(),
            setting.description,
            setting.kind.range(),
            setting.variable()
        );
    }
    is_committed("docs/settings.md", &page);
}

#[test]
fn the_tables_of_metrics_are_the_librarys() {
    let build = row(BUILD_INFO, Kind::Gauge, "1, with the version of the library as the label `version`.");
    let sessions = SESSION_METRICS.iter().map(|metric| row(metric.name, metric.kind, metric.help));
    let store = STORE_METRICS.iter().map(|metric| row(metric.name, metric.kind, metric.help));
    let page = read("docs/metrics.md");
    let page = with_part(&page, "sessions", &table(sessions.chain([build]).collect()));
    let page = with_part(&page, "store", &table(store.collect()));
    is_committed("docs/metrics.md", &page);
}

fn row(name: &str, kind: Kind, help: &str) -> String {
    format!("| `{}` | {} | {help} |\n", full(name), kind.name())
}

fn full(name: &str) -> String {
    format!("paymentsgate_auth_{}", name.trim_start_matches("paymentsgate_auth_"))
}

fn table(rows: Vec<String>) -> String {
    format!("| metric | type | what it tells |\n|---|---|---|\n{}", rows.concat())
}

/// The page with what stands between the two marks of that name replaced.
fn with_part(page: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: made by `make generate` -->\n"), format!("<!-- /{name} -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}\n{part}\n{end}{after}")
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_there_are() {
    let names = SESSION_METRICS.iter().map(|metric| metric.name);
    let names: Vec<_> = names.chain(STORE_METRICS.iter().map(|metric| metric.name)).map(full).collect();
    for file in ["examples/monitoring/dashboard.json", "examples/monitoring/alerts.yaml", "docs/metrics.md"] {
        let text = read(file);
        let words = text.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric());
        let named: Vec<_> = words.filter(|word| word.starts_with("paymentsgate_auth_")).collect();
        assert!(named.len() > 5, "{file}");
        for word in named {
            assert!(word == BUILD_INFO || names.iter().any(|name| name == word), "{file}: {word}");
        }
    }
    let board: serde_json::Value = serde_json::from_str(&read("examples/monitoring/dashboard.json")).unwrap();
    assert!(board["panels"].as_array().unwrap().len() > 5);
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Or is committed now, where it is to be renewed.
fn is_committed(name: &str, page: &str) {
    if std::env::var_os("PG_UPDATE_DOCS").is_some() {
        std::fs::write(path(name), page).unwrap();
    }
    assert!(read(name) == page, "{name} has drifted: run `make generate`");
}
