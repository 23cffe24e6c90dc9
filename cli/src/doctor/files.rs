//! Checks the settings, and the files that they name.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use paymentsgate_auth::{Client, Kind, SETTINGS};

use super::check::Check;
use crate::exit::Exit;
use crate::settings::Settings;

/// Settings that name files without secrets.
const OPEN: [&str; 2] = ["tls.ca_file", "tls.client_cert_file"];
/// The settings that give credentials.
const LOGIN: [&str; 4] = ["credentials_file", "account_id", "public_key", "public_key_file"];

pub(super) fn examine(settings: &Settings) -> Vec<Check> {
    let mut checks = named(settings);
    if let Some(path) = &settings.file {
        checks.push(file("settings file", path, settings.file_holds_secrets()));
    }
    let paths = SETTINGS.iter().filter(|setting| matches!(setting.kind, Kind::Path));
    checks.extend(paths.filter_map(|setting| {
        let path = settings.value(setting.name)?;
        Some(file(setting.name, Path::new(path), !OPEN.contains(&setting.name)))
    }));
    checks.push(credentials(settings));
    checks
}

/// One check for each problem, or one that lists the settings and their sources.
fn named(settings: &Settings) -> Vec<Check> {
    let (_, troubles) = settings.examine(|_| true);
    let mut checks: Vec<_> = troubles.iter().map(|error| Check::failed_by("settings", error)).collect();
    if checks.is_empty() {
        let sources = settings.sources();
        checks.push(if sources.is_empty() {
            let text = "none is set; set base_url, credentials_file and store (see --help)";
            Check::failed("settings", Exit::Settings, text)
        } else {
            Check::ok("settings", sources)
        });
    }
    let unknown = Settings::unknown_variables();
    if !unknown.is_empty() {
        let text = format!("no setting matches {}; see docs/settings.md", unknown.join(", "));
        checks.push(Check::warning("environment", text));
    }
    checks
}

fn file(name: &'static str, path: &Path, is_secret: bool) -> Check {
    let shown = path.display();
    let about = match File::open(path).and_then(|file| file.metadata()) {
        Ok(about) => about,
        Err(error) => {
            let text = format!("{shown}: cannot be read: {error}; check the path and its permissions");
            return Check::failed(name, Exit::Settings, text);
        }
    };
    let mode = about.mode() & 0o777;
    if !about.is_file() {
        Check::failed(name, Exit::Settings, format!("{shown}: not a file; name one"))
    } else if mode & 0o022 != 0 {
        let text = format!("{shown}: others may write it (mode {mode:03o}); `chmod go-w {shown}`");
        Check::warning(name, text)
    } else if is_secret && mode & 0o007 != 0 {
        let text = format!(
            "{shown}: everybody may read it (mode {mode:03o}), and it is a secret; `chmod 600 {shown}`"
        );
        Check::warning(name, text)
    } else {
        Check::ok(name, format!("{shown} (mode {mode:03o})"))
    }
}

/// Checks whether they are complete and well-formed. Only the service knows whether they are valid.
fn credentials(settings: &Settings) -> Check {
    let name = "credentials";
    if !LOGIN.iter().any(|name| settings.value(name).is_some()) {
        return Check::failed(
            name,
            Exit::Settings,
            "there are none; set credentials_file, or account_id and public_key",
        );
    }
    let (mut config, _) = settings.examine(|name| LOGIN.contains(&name));
    // Making a client checks the credentials, and needs an address.
    if let Err(error) = config.set("base_url", "https://localhost").and_then(|()| Client::new(&config)) {
        return Check::failed_by(name, &error);
    }
    Check::ok(name, "complete and well-formed")
}
