//! Credentials that one session replaces while others share the folder.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::status::Status;
use pg_sandbox::{Action, Fault, Point, Route};

use crate::Fixture;
use crate::support::{NOW, PATIENCE, eventually};

pub(crate) fn credentials(fixture: &Fixture, public_key: &str) -> Credentials {
    Credentials::new(&fixture.sandbox.credentials().account_id, public_key, "test").unwrap()
}

#[test]
fn a_pair_obtained_with_the_old_key_is_not_written_to_the_record_of_the_new_key() {
    let fixture = Fixture::new();
    let old = fixture.sandbox.credentials().public_key.clone();
    let new = fixture.sandbox.add_account().unwrap().public_key;
    let session = fixture.session();
    fixture.sandbox.inject(Fault::new(Route::Issue, Action::Delay { ms: 300 }).at(Point::After)).unwrap();
    session.token(NOW, NOW).unwrap_err();
    eventually("a running issue", || fixture.calls().0 == 1);
    session.set_credentials(credentials(&fixture, &new)).unwrap();
    // The service does not know the new key, so nothing can be written to its record.
    assert_eq!(session.token(Duration::from_secs(5), NOW).unwrap_err().status, Status::PG_ERR_REFUSED);
    let stranger = fixture.session();
    stranger.set_credentials(credentials(&fixture, &new)).unwrap();
    let error = stranger.token(Duration::from_secs(5), NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_REFUSED, "nothing was written into the new key's record");
    let calls = fixture.calls();
    session.set_credentials(credentials(&fixture, &old)).unwrap();
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
    assert_eq!(fixture.calls(), calls, "the pair of the old key is in the old key's record");
}

#[test]
fn credentials_replaced_by_two_threads_at_once_stay_consistent() {
    let fixture = Fixture::new();
    let good = fixture.sandbox.credentials().public_key.clone();
    let bad = fixture.sandbox.add_account().unwrap().public_key;
    for _ in 0..40 {
        let session = fixture.session();
        let together = Barrier::new(2);
        thread::scope(|scope| {
            for key in [&good, &bad] {
                scope.spawn(|| {
                    let credentials = credentials(&fixture, key);
                    together.wait();
                    session.set_credentials(credentials).unwrap();
                });
            }
        });
        let answer = session.token(Duration::from_secs(5), NOW).map(|_| ()).map_err(|error| error.status);
        assert!(matches!(answer, Ok(()) | Err(Status::PG_ERR_REFUSED)), "{answer:?}");
        if answer.is_ok() {
            // It uses the record of the good key, where another process finds its pair.
            let calls = fixture.calls();
            fixture.session().token(PATIENCE, NOW).unwrap();
            assert_eq!(fixture.calls(), calls);
        }
    }
}
