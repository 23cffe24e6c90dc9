//! Checks the store: the place, its lock, the record in it, and the lifetime of its token. With `--issue`, also obtains a
//! session.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use paymentsgate_auth::{Client, Committed, Form, Inspection, Operator, Renewal, Status};
use rustix::fs::{Access, access, statvfs};
use rustix::io::Errno;

use super::check::Check;
use super::lifetime::{self, LIFETIME};
use super::span;
use crate::exit::Exit;
use crate::settings::Settings;

const STORE: &str = "store";
const LOCK: &str = "lock";
const RECORD: &str = "record";
const ISSUE: &str = "issue";

const STAND_IN: &str = "https://localhost";

/// A flight holds the lock for longer than this only while it waits for the service.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const ISSUE_PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn examine(settings: &Settings, issues: bool) -> Vec<Check> {
    let none_of = |names: &[&'static str], why: &str| -> Vec<Check> {
        names.iter().map(|name| Check::not_run(name, why)).collect()
    };
    let (mut config, troubles) = settings.examine(|_| true);
    // Opening a store needs an address, and the place can be checked without the right one.
    let is_addressed = settings.value("base_url").is_some();
    let is_complete = troubles.is_empty() && (is_addressed || config.set("base_url", STAND_IN).is_ok());
    let client = Client::new(&config).ok().filter(|_| is_complete);
    let Some(client) = client else {
        return none_of(&[STORE, LOCK, RECORD, ISSUE, LIFETIME], "the settings are not complete, see above");
    };
    let operator = match settings.make_default_store().and_then(|()| Operator::open(&client, &config)) {
        Ok(operator) => operator,
        Err(error) if error.status == Status::PG_ERR_NO_CREDENTIALS => {
            return none_of(
                &[STORE, LOCK, RECORD, ISSUE, LIFETIME],
                "there are no credentials, so no record belongs to them",
            );
        }
        Err(error) => {
            let mut checks = vec![Check::failed_by(STORE, &error)];
            checks.extend(none_of(&[LOCK, RECORD, ISSUE, LIFETIME], "the store cannot be opened"));
            return checks;
        }
    };
    if !is_addressed {
        let mut checks = vec![place(&operator, settings)];
        checks.extend(none_of(
            &[LOCK, RECORD, ISSUE, LIFETIME],
            "base_url is not set, see above, so no record belongs to it",
        ));
        return checks;
    }
    let mut checks = if settings.keeps_nothing() {
        let text = "memory:, so every command obtains its own session; set store to file:/folder";
        let why = "nothing is saved";
        vec![Check::warning(STORE, text), Check::not_run(LOCK, why), Check::not_run(RECORD, why)]
    } else {
        let (lock, record) = (lock(&operator), record(&operator));
        // Inserted after the other checks, because it also reports what they corrected.
        vec![place(&operator, settings), lock, record]
    };
    let is_unfit = checks.iter().any(|check| check.exit == Exit::Store);
    let (issue, issued) = match issues {
        false => {
            let why = "add --issue to check whether the service accepts the credentials";
            (Check::not_run(ISSUE, why), None)
        }
        true if is_unfit => (Check::not_run(ISSUE, "the store could not save the session"), None),
        true => issue(&operator),
    };
    checks.push(issue);
    checks.push(match (issued, operator.look()) {
        (Some(issued), _) => lifetime::examine(Some(&issued)),
        _ if settings.keeps_nothing() => Check::not_run(LIFETIME, "nothing is saved"),
        (None, Ok(found)) => lifetime::examine(found.loaded.committed.as_ref()),
        (None, Err(_)) => Check::not_run(LIFETIME, "the record cannot be read"),
    });
    checks
}

fn place(operator: &Operator, settings: &Settings) -> Check {
    let folder = settings.value("store").and_then(|place| place.strip_prefix("file:"));
    if let Some(text) = folder.and_then(|folder| unwritable(Path::new(folder))) {
        return Check::failed(STORE, Exit::Store, text);
    }
    match operator.warning() {
        Some(warning) => Check::warning(STORE, warning),
        None => Check::ok(STORE, format!("can save sessions{}", sharers(settings, folder))),
    }
}

/// Who else can use the sessions, if a group shares the folder.
fn sharers(settings: &Settings, folder: Option<&str>) -> String {
    let is_shared = settings.value("store_mode") == Some("group");
    let group = folder.filter(|_| is_shared).and_then(|folder| Some(fs::metadata(folder).ok()?.gid()));
    group.map_or(String::new(), |group| format!("; every member of group {group} can use them"))
}

/// Why no record can be written to the folder. Its lock and record may be accessible anyway.
fn unwritable(folder: &Path) -> Option<String> {
    let shown = folder.display();
    match access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => {}
        Err(Errno::ROFS) => {
            return Some(format!("{shown}: on a read-only mount; name a folder that can be written"));
        }
        Err(error) => {
            let text = format!(
                "{shown}: cannot be written: {error}; check its owner and mode, or name another folder"
            );
            return Some(text);
        }
    }
    let is_full = statvfs(folder).is_ok_and(|disk| disk.f_blocks > 0 && disk.f_bavail == 0);
    is_full.then(|| format!("{shown}: the disk is full; free some space, or name a folder on another disk"))
}

fn lock(operator: &Operator) -> Check {
    match operator.try_lock(LOCK_PATIENCE) {
        Ok(true) => Check::ok(LOCK, "can be taken and released"),
        Ok(false) => {
            let text = "another process has held it for 2 s; if this continues, look for a process that hangs or is stopped";
            Check::warning(LOCK, text)
        }
        Err(error) => Check::failed_by(LOCK, &error),
    }
}

fn record(operator: &Operator) -> Check {
    let found = match operator.look() {
        Ok(found) => found,
        Err(error) => return Check::failed_by(RECORD, &error),
    };
    let Inspection { store_name: place, form, loaded, intent } = &found;
    if let Some(refusal) = loaded.back_off.as_ref().filter(|refusal| refusal.until > operator.now().boot) {
        return Check::failed_by(RECORD, &refusal.error);
    }
    let form = match form {
        None => {
            return Check::ok(RECORD, format!("{place}: none yet; `paymentsgate-auth login` creates one"));
        }
        Some(Form::Broken) => {
            let text =
                format!("{place}: broken; the next login replaces it. If this happens again, check the disk");
            return Check::warning(RECORD, text);
        }
        Some(Form::Plain) => "plain",
        Some(Form::Sealed) => "sealed, and this key opens it",
    };
    if let Some(claim) = intent {
        let ago = claim.age.map_or("some time".into(), span);
        let text = format!(
            "{place}: process {} took the refresh token {ago} ago and has not recorded the result; if it has ended, \
             the next token is obtained with the credentials",
            claim.pid
        );
        return Check::warning(RECORD, text);
    }
    Check::ok(RECORD, format!("{place}, {form}"))
}

/// Obtains a session and saves it.
fn issue(operator: &Operator) -> (Check, Option<Committed>) {
    let issued =
        operator.look().and_then(|found| operator.renew(&found, Renewal::ForcedIssue, ISSUE_PATIENCE));
    match issued.and_then(|outcome| outcome.result) {
        Ok(committed) => {
            let token = committed.token();
            let life = span(token.remaining(operator.now()));
            let text =
                format!("the service accepts the credentials: token {}, for {life}", token.fingerprint());
            (Check::ok(ISSUE, text), Some(committed))
        }
        Err(error) => (Check::failed_by(ISSUE, &error), None),
    }
}
