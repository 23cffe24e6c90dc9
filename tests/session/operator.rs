//! Manual work on the record of one account: looks, renewals, the lock and the end of a record.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use paymentsgate_auth::clock::Clock;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::phase::Phase;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Committed, Form};
use paymentsgate_auth::{FlightOutcome, Operator, Renewal};
use pg_sandbox::{Action, Point, Route};
use tempfile::TempDir;

use crate::fixture::Fixture;
use crate::support::{PATIENCE, TestClock, client, eventually};

const SHORT: Duration = Duration::from_millis(300);

/// A store in a folder, beside the emulator.
struct Desk {
    fixture: Fixture,
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Desk { fixture: Fixture::new(), folder: tempfile::tempdir().unwrap() }
    }

    fn sessions(&self) -> PathBuf {
        self.folder.path().join("sessions")
    }

    /// The settings without credentials.
    fn settings(&self, more: &[(&str, &str)]) -> Config {
        let sandbox = &self.fixture.sandbox;
        let mut config = Config::default();
        config.set("base_url", &sandbox.urls().https).unwrap();
        config.set("tls.ca_file", sandbox.address().ca_file.to_str().unwrap()).unwrap();
        config.set("store", &format!("file:{}", self.sessions().display())).unwrap();
        for (name, value) in more {
            config.set(name, value).unwrap();
        }
        config
    }

    fn open_with(&self, config: &Config) -> Result<Operator, Error> {
        Operator::open(&client(config, &self.fixture.sandbox.urls().https), config)
    }

    fn open(&self, more: &[(&str, &str)]) -> Operator {
        let login = self.fixture.sandbox.address().credentials_file.to_str().unwrap().to_owned();
        self.open_with(&self.settings(&[more, &[("credentials_file", &login)]].concat())).unwrap()
    }
}

fn renew(operator: &Operator, renewal: Renewal) -> FlightOutcome {
    operator.renew(&operator.look().unwrap(), renewal, PATIENCE).unwrap()
}

fn stored(operator: &Operator) -> Option<Committed> {
    operator.look().unwrap().loaded.committed
}

#[test]
fn a_record_is_begun_renewed_and_removed() {
    let desk = Desk::new();
    let operator = desk.open(&[]);
    assert!(operator.look().unwrap().form.is_none());
    let first = renew(&operator, Renewal::Due);
    assert_eq!((first.result.unwrap().generation(), desk.fixture.calls()), (1, (1, 0)));
    let found = operator.look().unwrap();
    assert_eq!((found.form, found.loaded.committed.as_ref().unwrap().generation()), (Some(Form::Plain), 1));
    let second = renew(&operator, Renewal::Due).result.unwrap();
    assert_eq!((second.generation(), desk.fixture.calls()), (2, (1, 1)));
    assert_eq!(stored(&operator).unwrap().token().fingerprint(), second.token().fingerprint());
    // A look that is no longer true costs no call.
    let adopted = operator.renew(&found, Renewal::Due, PATIENCE).unwrap();
    assert!(adopted.stats.adopted && adopted.result.unwrap().generation() == 2);
    assert_eq!(desk.fixture.calls(), (1, 1));
    renew(&operator, Renewal::Durable).result.unwrap();
    assert_eq!(desk.fixture.calls(), (1, 2), "durable: with the refresh token");
    for (renewal, issues) in [(Renewal::Issue, 2), (Renewal::ForcedIssue, 3)] {
        assert_eq!(renew(&operator, renewal).result.unwrap().generation(), issues + 2);
        assert_eq!(desk.fixture.calls(), (issues, 2), "{renewal:?}: with the credentials");
    }
    operator.forget(PATIENCE).unwrap();
    assert!(operator.look().unwrap().form.is_none() && stored(&operator).is_none());
}

#[test]
fn without_credentials_of_its_own_there_is_no_operator() {
    let desk = Desk::new();
    let error = desk.open_with(&desk.settings(&[])).err().unwrap();
    assert_eq!(error.status, Status::PG_ERR_NO_CREDENTIALS);
    let pair = [("access_token", "a"), ("refresh_token", "r"), ("access_token_expires_in_s", "60")];
    let error = desk.open_with(&desk.settings(&pair)).err().unwrap();
    assert_eq!(error.status, Status::PG_ERR_CONFLICTING_SETTINGS);
}

#[test]
fn a_back_off_holds_until_it_is_ignored_on_purpose() {
    let desk = Desk::new();
    let other = desk.fixture.sandbox.add_account().unwrap();
    let key = desk.fixture.sandbox.credentials().public_key.clone();
    let login = [("account_id", other.account_id.as_str()), ("public_key", key.as_str())];
    let operator = desk.open_with(&desk.settings(&login)).unwrap();
    let refused = |renewal| renew(&operator, renewal).result.unwrap_err();
    let strikes = || {
        let refusal = operator.look().unwrap().loaded.back_off.unwrap();
        (refusal.strikes, refusal.until.saturating_sub(operator.now().boot))
    };
    for (renewal, calls) in [
        (Renewal::Due, 1),
        (Renewal::Due, 1),
        (Renewal::Durable, 1),
        (Renewal::Issue, 1),
        (Renewal::ForcedIssue, 2),
        (Renewal::ForcedIssue, 3),
    ] {
        let error = refused(renewal);
        assert_eq!((error.status, desk.fixture.calls().0), (Status::PG_ERR_REFUSED, calls), "{renewal:?}");
        let (seen, left) = strikes();
        assert_eq!(seen as u64, calls);
        let wait = error.retry_after.unwrap();
        assert!(wait >= left && wait - left < Duration::from_secs(5), "{wait:?} {left:?}");
    }
}

#[test]
fn a_store_that_is_down_costs_the_pair_its_record_only_where_the_settings_say_so() {
    for (settings, renewal, is_private) in [
        (&[][..], Renewal::Due, true),
        (&[("on_store_down", "fail")], Renewal::Due, false),
        (&[], Renewal::Durable, false),
        (&[], Renewal::Issue, false),
    ] {
        let desk = Desk::new();
        let operator = desk.open(settings);
        let found = operator.look().unwrap();
        let _ = fs::remove_dir_all(desk.sessions());
        fs::write(desk.sessions(), "in the way").unwrap();
        let outcome = operator.renew(&found, renewal, PATIENCE).unwrap();
        assert_eq!(outcome.result.is_ok(), is_private, "{renewal:?} {settings:?}: {outcome:?}");
        assert_eq!(desk.fixture.calls(), (u64::from(is_private), 0));
        assert!(operator.look().is_err());
    }
}

#[test]
fn a_pair_that_cannot_be_saved_is_returned_unless_it_must_be_durable() {
    for (settings, renewal, is_returned) in [
        (&[][..], Renewal::Due, true),
        (&[("durability", "strict")], Renewal::Due, false),
        (&[], Renewal::Durable, false),
    ] {
        let desk = Desk::new();
        let operator = desk.open(settings);
        let found = operator.look().unwrap();
        // The folder goes while the service has the call.
        desk.fixture.fault(Route::Issue, Point::After, Action::Delay { ms: 2000 });
        let outcome = std::thread::scope(|scope| {
            let renewed = scope.spawn(|| operator.renew(&found, renewal, PATIENCE).unwrap());
            eventually("the call", || desk.fixture.calls().0 == 1);
            fs::remove_dir_all(desk.sessions()).unwrap();
            fs::write(desk.sessions(), "in the way").unwrap();
            renewed.join().unwrap()
        });
        assert_eq!(outcome.result.is_ok(), is_returned, "{renewal:?} {settings:?}: {outcome:?}");
        assert!(outcome.store_error.is_some());
        assert_eq!(desk.fixture.calls(), (1, 0));
    }
}

#[test]
fn a_lost_answer_costs_an_issue_unless_the_settings_forbid_it() {
    for (settings, is_returned, calls) in
        [(&[][..], true, (2, 1)), (&[("on_ambiguous", "fail")], false, (1, 1))]
    {
        let desk = Desk::new();
        let operator = desk.open(settings);
        renew(&operator, Renewal::Due).result.unwrap();
        desk.fixture.fault(Route::Refresh, Point::After, Action::Reset);
        let outcome = renew(&operator, Renewal::Due);
        assert_eq!((outcome.result.is_ok(), desk.fixture.calls()), (is_returned, calls), "{settings:?}");
        assert!(outcome.lost_answer.is_some());
    }
}

#[test]
fn a_phase_is_that_of_the_remaining_life_unless_the_age_is_not_certain() {
    let desk = Desk::new();
    let operator = desk.open(&[]);
    let committed = renew(&operator, Renewal::Due).result.unwrap();
    let uncertain = Committed { has_uncertain_age: true, ..committed.clone() };
    let apart = operator.now().boot.abs_diff(TestClock.now().boot);
    assert!(apart < Duration::from_secs(5), "{apart:?}");
    for (passes, phase, if_uncertain) in [
        (0, Phase::Fresh, Phase::Mandatory),
        (3000, Phase::Advisory, Phase::Mandatory),
        (500, Phase::Mandatory, Phase::Mandatory),
        (100, Phase::Expired, Phase::Expired),
    ] {
        desk.fixture.pass(passes);
        assert_eq!((operator.phase(&committed), operator.phase(&uncertain)), (phase, if_uncertain));
    }
    let fresh = renew(&operator, Renewal::Due).result.unwrap();
    desk.fixture.set_wall(7200);
    assert_eq!(operator.phase(&fresh), Phase::Mandatory, "the wall clock has jumped");
}

#[test]
fn a_lock_is_taken_and_given_back_unless_another_session_has_it() {
    let desk = Desk::new();
    let operator = desk.open(&[]);
    for _ in 0..2 {
        assert!(operator.try_lock(PATIENCE).unwrap(), "it was given back");
    }
    desk.fixture.fault(Route::Issue, Point::Before, Action::Hang);
    let error = operator.renew(&operator.look().unwrap(), Renewal::Due, SHORT).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_TIMEOUT);
    // The flight goes on, and has the lock.
    let other = desk.open(&[]);
    assert!(!other.try_lock(SHORT).unwrap());
    let error = other.forget(SHORT).unwrap_err();
    assert!(error.status == Status::PG_ERR_STORE && error.text.contains("not ready"), "{error}");
    desk.fixture.sandbox.end_connections(pg_sandbox::HowToEnd::Reset);
    assert!(other.try_lock(PATIENCE).unwrap());
}

#[test]
fn a_warning_and_metrics_are_those_of_the_store() {
    let desk = Desk::new();
    let operator = desk.open(&[]);
    assert_eq!(operator.warning(), None);
    renew(&operator, Renewal::Due).result.unwrap();
    let found = operator.metrics(operator.look().ok()).unwrap();
    assert!(found.contains("paymentsgate_auth_store_generation{login=\"") && found.contains("\"} 1\n"));
    let down = operator.metrics(None).unwrap();
    assert!(down.contains("store_up{login=\"") && down.ends_with("\"} 0\n"), "{down}");
    fs::set_permissions(desk.sessions(), Permissions::from_mode(0o777)).unwrap();
    let warning = desk.open(&[]).warning().unwrap();
    assert!(warning.contains("mode 777"), "{warning}");
}
