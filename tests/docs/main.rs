//! The generated documents and the options of Go match the sources. `PG_UPDATE_DOCS=1 cargo test --test docs`
//! (`make generate`) writes them again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod go;
mod names;

use std::path::PathBuf;

use paymentsgate_auth::config::SETTINGS;
use paymentsgate_auth::session::metrics::{BUILD_INFO, Kind, SESSION_METRICS, STORE_METRICS};
use paymentsgate_auth::status::Status;
use syn::{Expr, ExprLit, Item, Lit, Meta};

#[test]
fn the_page_of_settings_matches_the_library() {
    let mut page = String::from(
        "# Settings\n\n\
         Made from the library's own table; do not edit. From C: `pg_config_set(config, name, value, &error)`. From the \
         environment, by one explicit call (`pg_config_set_from_env`): the variable in the last column. A program can \
         read this table with `pg_setting_count` and its kin. A line break at the end of a value is no part of it.\n\n\
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

/// Each variant or field of a type that is documented, and the paragraphs of its comment.
fn documented(file: &str, name: &str) -> Vec<(String, Vec<String>)> {
    let items = syn::parse_file(&read(file)).unwrap().items.into_iter();
    let mut found: Vec<(String, Vec<syn::Attribute>)> = Vec::new();
    for item in items {
        match item {
            Item::Enum(item) if item.ident == name => {
                found.extend(item.variants.into_iter().map(|part| (part.ident.to_string(), part.attrs)))
            }
            Item::Struct(item) if item.ident == name => {
                let is_shown = |part: &syn::Field| matches!(part.vis, syn::Visibility::Public(_));
                let parts = item.fields.into_iter().filter(is_shown);
                found.extend(parts.map(|part| (part.ident.unwrap().to_string(), part.attrs)))
            }
            _ => {}
        }
    }
    assert!(!found.is_empty(), "{file} has no {name}");
    found.into_iter().map(|(name, attributes)| (name, paragraphs(&attributes))).collect()
}

fn paragraphs(attributes: &[syn::Attribute]) -> Vec<String> {
    let line = |attribute: &syn::Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    };
    let lines: Vec<_> = attributes.iter().filter_map(line).collect();
    lines.split(|line| line.is_empty()).map(|paragraph| paragraph.join(" ")).collect()
}

#[test]
fn the_page_of_errors_matches_the_library() {
    let mut page = String::from(
        "# Errors\n\n\
         Made from the library's own statuses; do not edit. Every call that fails has one, under the same number and \
         the same name in every language, and a text that says what happened, with which setting or file, and what to do. \
         New ones may be added: treat one that you do not know as a failure.\n\n\
         Decide by what the error says of itself rather than by the number: whether the same call may succeed later \
         (`pg_error_is_retryable`, the last column where nothing else speaks against it), whether only credentials help \
         (`pg_error_needs_credentials`), and after a refresh what became of the refresh token (below).\n",
    );
    let groups = ["The call", "The settings", "The network", "The service's answer", "The store"];
    let mut group = None;
    let statuses = documented("src/status.rs", "Status").into_iter().zip(Status::ALL);
    for ((name, paragraphs), status) in statuses.filter(|(_, status)| **status != Status::PG_OK) {
        assert_eq!(name, format!("{status:?}"));
        let [meaning, advice] = &paragraphs[..] else { panic!("{name} has not two paragraphs") };
        let number = *status as usize;
        if group != Some(number / 100) {
            group = Some(number / 100);
            let title = groups.get(number / 100).unwrap_or(&"The library and the system");
            page += &format!(
                "\n## {title}\n\n| number | status | what it means | what to do | again? |\n|---|---|---|---|---|\n"
            );
        }
        let again = if status.is_transient() { "yes" } else { "" };
        page += &format!("| {number} | `{name}` | {meaning} | {advice} | {again} |\n");
    }
    page += "\n## The fate of a refresh token\n\n\
             After a failed refresh, `pg_error_refresh_token_fate`. A session sees to it by itself.\n\n\
             | number | fate | what it means |\n|---|---|---|\n";
    for (number, (name, paragraphs)) in documented("src/status.rs", "Fate").iter().enumerate() {
        page += &format!("| {number} | `{name}` | {} |\n", paragraphs.join(" "));
    }
    is_committed("docs/errors.md", &page);
}

#[test]
fn the_page_of_health_matches_the_library() {
    let mut page = String::from(
        "# Health\n\n\
         Made from the library's own fields; do not edit. What a session says of itself: `pg_session_health` answers it as a \
         JSON object, `session.health()` in C++ and Python, `session.Health()` in Go. It holds no secret, costs no call to the \
         service and does not wait. New keys may be added. As numbers over time: [metrics.md](metrics.md).\n",
    );
    let file = "src/session/health.rs";
    let parts = [("", "Health"), ("`last_refresh`", "LastRefresh"), ("`counters`", "Counters")];
    for (title, name) in parts {
        let title = if title.is_empty() { String::new() } else { format!("\n## {title}\n") };
        page += &format!("{title}\n| key | what it tells |\n|---|---|\n");
        for (key, paragraphs) in documented(file, name) {
            page += &format!("| `{key}` | {} |\n", paragraphs.join(" "));
        }
    }
    is_committed("docs/health.md", &page);
}

#[test]
fn the_tables_of_metrics_match_the_library() {
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

/// The page, with the text between the two marks of that name replaced.
fn with_part(page: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: made by `make generate` -->\n"), format!("<!-- /{name} -->\n"));
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}\n{part}\n{end}{after}")
}

#[test]
fn the_dashboard_and_the_alerts_name_existing_metrics() {
    let names = SESSION_METRICS.iter().map(|metric| metric.name);
    let names: Vec<_> = names.chain(STORE_METRICS.iter().map(|metric| metric.name)).map(full).collect();
    for file in ["examples/monitoring/dashboard.json", "examples/monitoring/alerts.yaml", "docs/metrics.md"] {
        let text = read(file);
        let words = text.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric());
        // The command line tests the metrics of its agent.
        let is_ours = |word: &&str| {
            word.starts_with("paymentsgate_auth_")
                && !word.starts_with("paymentsgate_auth_agent_")
                && !word.ends_with('_')
        };
        let named: Vec<_> = words.filter(is_ours).collect();
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

/// With PG_UPDATE_DOCS it writes the page instead.
fn is_committed(name: &str, page: &str) {
    if std::env::var_os("PG_UPDATE_DOCS").is_some() {
        std::fs::write(path(name), page).unwrap();
    }
    assert!(read(name) == page, "{name} has drifted: run `make generate`");
}

#[test]
fn the_page_of_dependencies_has_every_crate_that_the_library_names_in_its_version() {
    let (page, lock) = (read("docs/dependencies.md"), read("Cargo.lock"));
    let (secrets, others) = page.split_once("\n## Crates that see none\n").unwrap();
    for row in secrets.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<_> = row.split(" | ").collect();
        let entry = format!(
            "name = \"{}\"\nversion = \"{}\"\n",
            columns[0].trim_matches(['|', ' ', '`']),
            columns[1]
        );
        assert!(
            lock.contains(&entry),
            "docs/dependencies.md: read this crate again, it has another version: {row}"
        );
    }
    let manifest = read("Cargo.toml");
    let listed = manifest.split_once("\n[dependencies]\n").unwrap().1.split_once("\n\n").unwrap().0;
    for name in listed.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name) {
        let is_named = secrets.contains(&format!("\n| `{name}` | ")) || others.contains(&format!("`{name}`"));
        assert!(is_named || name.starts_with('#'), "docs/dependencies.md: what does `{name}` see?");
    }
}

#[test]
fn the_page_of_platforms_names_every_file_that_windows_could_not_compile() {
    let of_unix = ["std::os::unix", "std::os::fd", "libc::", "rustix::", "signal_hook", "\"/proc"];
    let mut found = names::files();
    found.retain(|file| ["src/", "cli/src/", "sandbox/src/"].iter().any(|folder| file.starts_with(folder)));
    found.retain(|file| file.ends_with(".rs") && of_unix.iter().any(|word| read(file).contains(word)));
    found.sort();
    let page = read("docs/platforms.md");
    let rows = page.split_once("\n## Windows\n").unwrap().1.split('`');
    let mut named: Vec<_> = rows.filter(|name| name.ends_with(".rs")).map(str::to_owned).collect();
    named.sort();
    assert_eq!(
        named, found,
        "left: the table in docs/platforms.md, right: files that use what only Unix has"
    );
}

#[test]
fn the_table_of_tests_names_every_folder() {
    let page = read("tests/README.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let named: Vec<_> = rows.map(|(name, _)| name.to_owned()).collect();
    let entries = std::fs::read_dir(path("tests")).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut folders: Vec<_> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    // Python's caches of compiled modules are not sources.
    folders.retain(|name| !name.starts_with(['_', '.']));
    folders.sort();
    assert_eq!(named, folders, "left: the table of tests/README.md, right: the folders of tests/");
}
