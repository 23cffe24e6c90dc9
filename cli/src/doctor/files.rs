//! Checks the settings, and the files that they name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use paymentsgate_auth::{Client, Kind, SETTINGS, path_text};
use rustix::fs::{StatVfsMountFlags, fstatvfs};
use rustix::process::geteuid;

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
        // Making a client says what is missing.
        let (bare, _) = settings.examine(|name| name == "base_url");
        checks.push(match Client::new(&bare) {
            Ok(_) => Check::ok("settings", settings.sources()),
            Err(error) => Check::failed_by("settings", &error),
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
    let shown = path_text(path);
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (about, file) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let text = format!("{shown}: cannot be read: {error}; {}", unreadable(path, &error));
            return Check::failed(name, Exit::Settings, text);
        }
    };
    if !about.is_file() {
        return Check::failed(name, Exit::Settings, format!("{shown}: not a file; name one"));
    }
    let is_read_only = fstatvfs(&file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY));
    let our_uid = geteuid().as_raw();
    let changer = match about.uid() {
        _ if is_read_only => Changer::Mount,
        owner if owner == our_uid || our_uid == 0 => Changer::User,
        owner => Changer::Owner(owner),
    };
    mode(name, &shown.to_string(), about.mode() & 0o777, is_secret, changer)
}

/// What to do about a file that cannot be read. Its folder may show its owner and mode nevertheless.
fn unreadable(path: &Path, error: &io::Error) -> String {
    let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
    match fs::metadata(path) {
        Ok(about) if is_denied => {
            let (owner, group, mode) = (about.uid(), about.gid(), about.mode() & 0o777);
            format!(
                "it belongs to user {owner} and group {group} (mode {mode:03o}), and this command runs as user {}; give \
                 that user or one of its groups read access (a secret of Kubernetes: fsGroup, and defaultMode: 0440)",
                geteuid().as_raw()
            )
        }
        _ if is_denied => "a folder of the path may not be searched by this user; check each one".into(),
        _ => "check the path".into(),
    }
}

/// Who can change the mode of a file.
#[derive(Clone, Copy)]
enum Changer {
    /// The user of this command.
    User,
    /// Another user.
    Owner(u32),
    /// The configuration of a read-only mount, for example a secret of Kubernetes.
    Mount,
}

fn mode(name: &'static str, shown: &str, mode: u32, is_secret: bool, changer: Changer) -> Check {
    let (problem, own, others) = if mode & 0o022 != 0 {
        ("others may write it", "go-w", "go-w")
    } else if is_secret && mode & 0o007 != 0 {
        // This command may be reading another user's file through its group.
        ("everybody may read it, and it is a secret", "600", "o-rwx")
    } else {
        return Check::ok(name, format!("{shown} (mode {mode:03o})"));
    };
    let remedy = match changer {
        Changer::User => format!("`chmod {own} {shown}`"),
        Changer::Owner(uid) => format!("its owner, user {uid}, can `chmod {others} {shown}`"),
        Changer::Mount => {
            "the mount is read-only, so set the mode where it is defined (Kubernetes: defaultMode: 0440)"
                .into()
        }
    };
    Check::warning(name, format!("{shown}: {problem} (mode {mode:03o}); {remedy}"))
}

/// Checks whether they are complete and well-formed. Only the service knows whether they are valid.
fn credentials(settings: &Settings) -> Check {
    let name = "credentials";
    if !LOGIN.iter().any(|name| settings.value(name).is_some()) {
        let text = "there are none; set credentials_file (PAYMENTSGATE_CREDENTIALS_FILE, --credentials-file), or account_id \
                    and public_key";
        return Check::failed(name, Exit::Settings, text);
    }
    let (config, _) = settings.examine(|name| LOGIN.contains(&name));
    match config.credentials() {
        Ok(Some(found)) => {
            let file = settings.value("credentials_file").map(str::to_owned);
            let source = file.or_else(|| settings.source("account_id")).unwrap_or_default();
            let account = found.account_id.expose();
            Check::ok(name, format!("account {account}, from {source}; complete and well-formed"))
        }
        Ok(None) => Check::not_run(name, "their settings are invalid, see above"),
        Err(error) => Check::failed_by(name, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn the_advice_about_a_mode_can_be_followed() {
        for (found, changer, advice) in [
            (0o644, Changer::User, "(mode 644); `chmod 600 /key`"),
            (0o644, Changer::Owner(7), "its owner, user 7, can `chmod o-rwx /key`"),
            (0o644, Changer::Mount, "defaultMode: 0440"),
            (0o662, Changer::User, "others may write it (mode 662); `chmod go-w /key`"),
            (0o662, Changer::Owner(7), "its owner, user 7, can `chmod go-w /key`"),
            (0o666, Changer::Mount, "the mount is read-only"),
        ] {
            let check = mode("store_key_file", "/key", found, true, changer);
            assert!(check.result == Verdict::Warning && check.text.contains(advice), "{}", check.text);
            assert_eq!(check.text.contains("chmod"), !matches!(changer, Changer::Mount), "{}", check.text);
        }
        for (found, is_secret) in [(0o600, true), (0o440, true), (0o644, false)] {
            let check = mode("tls.ca_file", "/ca", found, is_secret, Changer::Mount);
            assert_eq!(check.result, Verdict::Ok, "{}", check.text);
        }
    }
}
