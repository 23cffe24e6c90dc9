//! Operations that are started on a queue.

use paymentsgate_auth::event::{Body, Level, Operation};
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::status::Status;

use crate::fixture::{Fixture, lines, log_of};
use crate::support::{NOW, PATIENCE, eventually};

#[test]
fn a_token_that_is_asked_for_on_a_queue_arrives_there() {
    let (fixture, queue) = (Fixture::new(), Queue::default());
    let session = &fixture.session;
    let begin = || queue.begin(1, Operation::Token).unwrap();
    let arrived = || match queue.poll(PATIENCE).unwrap().expect("the end of the operation").body {
        Body::Token(answer) => answer.map(|grant| grant.generation).map_err(|error| error.status),
        _ => panic!("something else"),
    };
    session.check_start(NOW).unwrap();
    session.token_start(begin(), PATIENCE, NOW);
    assert_eq!(arrived(), Ok(1), "from the service");
    session.token_start(begin(), PATIENCE, NOW);
    assert_eq!(arrived(), Ok(1), "from memory");
    session.refresh_start(begin(), PATIENCE);
    assert_eq!(arrived(), Ok(2), "another one, although the first is fresh");
    eventually("the fast path, which has the token from the next second on", || {
        session.fresh(NOW).is_some() && session.try_read(|grant| Some(grant.generation)) == Some(2)
    });
    session.close(PATIENCE).unwrap();
    assert!(session.try_read(|_| Some(())).is_none());
    session.token_start(begin(), PATIENCE, NOW);
    assert_eq!(arrived(), Err(Status::PG_ERR_CLOSED));
    session.refresh_start(begin(), PATIENCE);
    assert_eq!(arrived(), Err(Status::PG_ERR_CLOSED));
}

#[test]
fn a_subscriber_gets_the_warning_of_a_store_if_its_level_has_warnings() {
    let fixture = Fixture::new();
    // Nothing is sent to this server.
    let session = fixture.open(&[("store", "redis://127.0.0.1:1")]);
    for (level, expected) in [(Level::PG_LOG_ERROR, 0), (Level::PG_LOG_WARN, 1), (Level::PG_LOG_INFO, 1)] {
        let lines = lines(&log_of(&session, level));
        assert_eq!(lines.iter().filter(|line| line.contains("not sealed")).count(), expected, "{lines:?}");
    }
}
