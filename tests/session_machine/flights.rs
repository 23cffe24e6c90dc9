//! Single decisions of a flight: the step that follows from the result of the last one.

use std::time::Duration;

use paymentsgate_auth::config::OnAmbiguous;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::protocol::Failure;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::session::flight::{Flight, Input, Step};
use paymentsgate_auth::session::outcome::FlightOutcome;
use paymentsgate_auth::session::plan::Plan;
use paymentsgate_auth::status::{Fate, Status};
use paymentsgate_auth::store::{Committed, Loaded, Lock, Refusal, Uncommitted};
use paymentsgate_auth::token::{Pair, RefreshToken, Token};

use crate::scene::{at, committed};

const SECOND: Duration = Duration::from_secs(1);
/// When a flight makes its steps, unless a test says otherwise.
const NOW: Duration = Duration::from_secs(100);

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn refresh() -> RefreshToken {
    RefreshToken::new(secret("r"))
}

fn pair() -> Pair {
    let token = Token::new(secret("a"), Lifetime::of(3600 * SECOND), at(100));
    Pair { token, refresh: Some(RefreshToken::new(secret("r2"))) }
}

fn plan() -> Plan {
    Plan::plain(1)
}

fn issue_only() -> Plan {
    Plan { issue_only: true, ..plan() }
}

fn fail() -> Plan {
    Plan { on_ambiguous: OnAmbiguous::Fail, ..plan() }
}

fn found(committed: Committed) -> Loaded {
    Loaded { committed: Some(committed), ..Loaded::default() }
}

fn backed_off(status: Status, until: Duration) -> Loaded {
    let refusal = Refusal { strikes: 3, until, error: Error::new(status, "stored") };
    Loaded { back_off: Some(refusal), ..Loaded::default() }
}

fn failed(error: Error) -> Failure {
    Failure { error, refresh: None, maybe_spent: None }
}

fn called(failure: Failure) -> Input {
    Input::Called(Box::new(Err(failure)))
}

/// The answer to a Refresh was lost; the token may be spent.
fn lost() -> Input {
    let error =
        Error { fate: Fate::PG_FATE_UNKNOWN, ..Error::new(Status::PG_ERR_CONNECTION_LOST, "no answer") };
    called(Failure { maybe_spent: refresh().into_maybe_spent(), ..failed(error) })
}

/// The Refresh was refused: by the API, or by something else, which leaves a token that may be spent.
fn refused(is_of_the_api: bool) -> Input {
    let error = Error { fate: Fate::PG_FATE_REFUSED, ..Error::new(Status::PG_ERR_REFUSED, "refused") };
    let maybe_spent = refresh().into_maybe_spent().filter(|_| !is_of_the_api);
    called(Failure { maybe_spent, ..failed(error) })
}

/// The Issue failed.
fn unissued(status: Status) -> Input {
    called(failed(Error::new(status, "no pair")))
}

fn down() -> Input {
    Input::StoreFailed(Error::new(Status::PG_ERR_STORE, "down"))
}

/// A flight after these results, and the step that follows.
fn after(plan: Plan, inputs: impl IntoIterator<Item = Input>) -> (Flight, Step) {
    let mut flight = Flight::new(plan, None);
    let step = follow(&mut flight, inputs);
    (flight, step)
}

fn follow(flight: &mut Flight, inputs: impl IntoIterator<Item = Input>) -> Step {
    inputs.into_iter().map(|input| flight.next(input, NOW)).last().unwrap()
}

/// A flight that has the lock, and has found this in the store.
fn loaded(plan: Plan, found: Loaded) -> (Flight, Step) {
    after(plan, [Input::Start, Input::Locked(Lock::Held), Input::Loaded(found)])
}

/// A flight whose refresh token is presented.
fn presenting(plan: Plan) -> Flight {
    let (mut flight, step) = loaded(plan, Loaded::default());
    assert!(matches!(step, Step::Intend), "{step:?}");
    let step = flight.next(Input::Intended(Some(refresh())), NOW);
    assert!(matches!(step, Step::Refresh(_)), "{step:?}");
    flight
}

/// A flight whose Issue is made.
fn issuing(plan: Plan) -> Flight {
    let (flight, step) = loaded(plan, Loaded::default());
    assert!(matches!(step, Step::Issue), "{step:?}");
    flight
}

/// A flight that has a pair and commits it.
fn committing(plan: Plan) -> (Flight, Pair) {
    let mut flight = issuing(plan);
    match flight.next(Input::Called(Box::new(Ok(pair()))), NOW) {
        Step::Commit(pair) => (flight, pair),
        step => panic!("{step:?}"),
    }
}

fn uncommitted(pair: Pair) -> Input {
    Input::Uncommitted(Uncommitted { error: Error::new(Status::PG_ERR_STORE, "down"), pair })
}

fn finished(step: Step) -> FlightOutcome {
    match step {
        Step::Finish(outcome) => *outcome,
        step => panic!("{step:?}"),
    }
}

/// The status of a flight that has ended without a token.
fn ended(step: Step) -> Status {
    finished(step).result.unwrap_err().status
}

/// The strikes, whether the credentials have worked, and the status of a back-off.
fn back_off(step: Step) -> (usize, bool, Status) {
    match step {
        Step::BackOff { strikes, have_worked, error } => (strikes, have_worked, error.status),
        step => panic!("{step:?}"),
    }
}

fn pause(step: Step) -> Duration {
    match step {
        Step::Pause { most } => most,
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_flight_takes_the_lock_and_a_look_does_not() {
    let looks = Plan { looks_only: true, ..plan() };
    assert!(matches!(after(plan(), [Input::Start]).1, Step::Lock));
    assert!(matches!(after(looks.clone(), [Input::Start]).1, Step::Load));
    let outcome = finished(after(looks, [Input::Start, Input::Loaded(Loaded::default())]).1);
    assert!(outcome.stats.looked_only);
    assert_eq!(outcome.result.unwrap_err().text, "the store has nothing newer");
}

#[test]
fn a_flight_that_found_no_usable_newer_pair_returns_to_the_lock() {
    let inputs = [Input::Start, Input::Locked(Lock::Moved), Input::Loaded(Loaded::default())];
    assert!(matches!(after(plan(), inputs).1, Step::Lock));
}

#[test]
fn a_newer_pair_is_adopted_unless_its_token_was_refused() {
    let outcome = finished(loaded(plan(), found(committed(2, 0))).1);
    assert_eq!(outcome.result.unwrap().generation(), 2);
    assert!(outcome.stats.adopted && !outcome.stats.looked_only);
    assert!(matches!(loaded(plan(), found(committed(1, 0))).1, Step::Intend), "it is the same pair");
    let refused = Some(*committed(2, 0).token().fingerprint());
    assert!(matches!(loaded(Plan { refused, ..plan() }, found(committed(2, 0))).1, Step::Intend));
    let another = Plan { refused: Some(*committed(1, 0).token().fingerprint()), ..plan() };
    assert!(finished(loaded(another, found(committed(2, 0))).1).result.is_ok());
}

#[test]
fn the_host_gets_a_copy_of_the_refresh_token_only_with_the_pair() {
    let keeps = Plan { host_keeps: true, ..issue_only() };
    let copy = |plan: &Plan, successor: Committed| {
        let mut flight = Flight::offering(plan.clone(), pair());
        let inputs = [Input::Start, Input::Locked(Lock::Held), Input::Loaded(found(successor))];
        finished(follow(&mut flight, inputs)).host_copy.map(|copy| copy.expose().to_owned())
    };
    let same = Committed::private(pair().token, 2);
    assert_eq!(copy(&keeps, same.clone()).as_deref(), Some("r2"));
    assert_eq!(copy(&keeps, committed(2, 0)), None, "another pair");
    assert_eq!(copy(&issue_only(), same), None, "the host keeps nothing");
    let (mut flight, pair) = committing(keeps);
    let outcome = finished(flight.next(Input::Committed(Committed::private(pair.token, 2)), NOW));
    assert_eq!(outcome.host_copy.unwrap().expose(), "r2");
}

#[test]
fn a_back_off_in_the_store_prevents_calls_until_it_ends() {
    use Status::{PG_ERR_CONNECTION_LOST, PG_ERR_RATE_LIMITED, PG_ERR_REFUSED};
    let later = NOW + SECOND;
    // Too many requests: no call at all, until the end.
    let outcome = finished(loaded(plan(), backed_off(PG_ERR_RATE_LIMITED, later)).1);
    assert_eq!(outcome.refusal.unwrap().strikes, 3);
    assert_eq!(outcome.result.unwrap_err().text, "stored");
    assert!(matches!(loaded(plan(), backed_off(PG_ERR_RATE_LIMITED, NOW)).1, Step::Intend));
    let ignores = Plan { respects_back_off: false, ..plan() };
    assert!(matches!(loaded(ignores, backed_off(PG_ERR_RATE_LIMITED, later)).1, Step::Intend));
    // The others prevent Issue. A lost answer does so only with `on_ambiguous = fail`.
    for (plan, status, may_issue) in [
        (plan(), PG_ERR_REFUSED, false),
        (fail(), PG_ERR_REFUSED, false),
        (plan(), PG_ERR_CONNECTION_LOST, true),
        (fail(), PG_ERR_CONNECTION_LOST, false),
    ] {
        let (mut flight, step) = loaded(plan, backed_off(status, later));
        assert!(matches!(step, Step::Intend), "a Refresh is allowed: {step:?}");
        let step = flight.next(Input::Intended(None), NOW);
        assert_eq!(matches!(step, Step::Issue), may_issue, "{status:?}: {step:?}");
        if !may_issue {
            assert_eq!(ended(step), status);
        }
    }
    // Strikes count on from those in the store.
    let mut flight = loaded(issue_only(), backed_off(PG_ERR_REFUSED, NOW)).0;
    assert_eq!(back_off(flight.next(unissued(PG_ERR_REFUSED), NOW)), (4, false, PG_ERR_REFUSED));
}

#[test]
fn a_refresh_can_be_given_up_if_an_issue_follows_now_or_soon() {
    use Status::{PG_ERR_BLOCKED, PG_ERR_REDIRECT, PG_ERR_REFUSED};
    for (may_issue, obstacle, on_ambiguous, expected) in [
        (true, None, OnAmbiguous::Issue, true),
        (true, None, OnAmbiguous::Replay, true),
        (true, None, OnAmbiguous::Fail, false),
        (false, None, OnAmbiguous::Issue, false),
        (false, Some(PG_ERR_REDIRECT), OnAmbiguous::Issue, true),
        (false, Some(PG_ERR_BLOCKED), OnAmbiguous::Issue, true),
        (false, Some(PG_ERR_BLOCKED), OnAmbiguous::Fail, false),
        (false, Some(PG_ERR_REFUSED), OnAmbiguous::Issue, false),
    ] {
        let obstacle = obstacle.map(|status| Box::new(Error::new(status, "no")));
        let case = format!("{may_issue} {obstacle:?} {on_ambiguous:?}");
        let flight = Flight::new(Plan { may_issue, obstacle, on_ambiguous, ..plan() }, None);
        assert_eq!(flight.may_recover(), expected, "{case}");
        assert_eq!(flight.may_replay(), on_ambiguous == OnAmbiguous::Replay, "{case}");
    }
    // What is in the store counts more than what the session knew.
    let (flight, _) = loaded(plan(), backed_off(PG_ERR_REFUSED, NOW + SECOND));
    assert!(!flight.may_recover());
}

#[test]
fn after_a_lost_answer_the_store_is_read_and_then_a_pair_is_issued() {
    let mut flight = presenting(plan());
    assert!(matches!(flight.next(lost(), NOW), Step::Load));
    assert!(matches!(flight.next(Input::Loaded(Loaded::default()), NOW), Step::Issue));
    assert_eq!(flight.issues(), 1);
    let outcome = finished(flight.next(Input::Stopped(Error::new(Status::PG_ERR_CLOSED, "closed")), NOW));
    let stats = outcome.stats;
    assert!(stats.ambiguous && stats.spent && !stats.refused && outcome.maybe_spent.is_none());
    assert_eq!((stats.refreshes, stats.issues), (1, 1));
    assert_eq!(outcome.lost_answer.unwrap().text, "no answer");
    assert!(stats.brought_token());
}

#[test]
fn after_a_lost_answer_the_next_flight_presents_the_token_once_more_if_the_setting_says_so() {
    let mut flight = presenting(Plan { on_ambiguous: OnAmbiguous::Replay, ..plan() });
    flight.next(lost(), NOW);
    let outcome = finished(flight.next(Input::Loaded(Loaded::default()), NOW));
    assert!(outcome.maybe_spent.is_some() && !outcome.stats.spent);
    assert_eq!(outcome.result.unwrap_err().status, Status::PG_ERR_CONNECTION_LOST);
    // In the next flight: no intent is written again. A replay that did not leave is kept, and ends the flight.
    let mut next = Flight::new(Plan { on_ambiguous: OnAmbiguous::Replay, ..plan() }, outcome.maybe_spent);
    let step = follow(&mut next, [Input::Start, Input::Locked(Lock::Held), Input::Loaded(Loaded::default())]);
    let Step::Refresh(replayed) = step else { panic!("{step:?}") };
    let error = Error { fate: Fate::PG_FATE_UNSENT, ..Error::new(Status::PG_ERR_CONNECT, "no way") };
    let failure = Failure { refresh: Some(replayed), ..failed(error) };
    let outcome = finished(next.next(called(failure), NOW));
    assert!(outcome.maybe_spent.is_some());
    assert_eq!(outcome.result.unwrap_err().status, Status::PG_ERR_CONNECT);
}

#[test]
fn after_a_lost_answer_nothing_is_called_if_the_setting_says_so() {
    let lost_status = Status::PG_ERR_CONNECTION_LOST;
    let mut flight = presenting(fail());
    flight.next(lost(), NOW);
    assert_eq!(back_off(flight.next(Input::Loaded(Loaded::default()), NOW)), (0, false, lost_status));
    // Also if the store hangs.
    let mut flight = presenting(fail());
    flight.next(lost(), NOW);
    assert_eq!(back_off(flight.next(down(), NOW + 5 * SECOND)), (0, false, lost_status));
    // An answer that was not lost is followed by an Issue.
    let mut flight = presenting(fail());
    flight.next(refused(true), NOW);
    assert!(matches!(flight.next(Input::Loaded(Loaded::default()), NOW), Step::Issue));
}

#[test]
fn a_refused_refresh_token_is_given_up_unless_there_is_nothing_else() {
    let outcome = |can_issue, is_of_the_api| {
        let mut flight = presenting(Plan { can_issue, may_issue: can_issue, ..plan() });
        flight.next(refused(is_of_the_api), NOW);
        let closed = Input::Stopped(Error::new(Status::PG_ERR_CLOSED, "closed"));
        let outcome = finished(flight.next(closed, NOW));
        assert!(outcome.stats.refused && !outcome.stats.ambiguous && outcome.lost_answer.is_none());
        (outcome.maybe_spent.is_some(), outcome.stats.spent)
    };
    assert_eq!(outcome(true, false), (false, true));
    assert_eq!(outcome(false, false), (true, false));
    assert_eq!(outcome(false, true), (false, true));
    let mut flight = presenting(plan());
    let unsent = Error { fate: Fate::PG_FATE_UNSENT, ..Error::new(Status::PG_ERR_CONNECT, "no way") };
    let step = flight.next(called(Failure { refresh: Some(refresh()), ..failed(unsent) }), NOW);
    assert!(matches!(step, Step::Retract(_)), "{step:?}");
    let outcome = finished(flight.next(Input::Retracted, NOW));
    assert!(!outcome.stats.refused && !outcome.stats.spent);
}

#[test]
fn an_issue_that_fails_for_a_moment_is_tried_three_times() {
    let mut flight = issuing(issue_only());
    for (tries, wait) in [(1, SECOND), (2, 2 * SECOND)] {
        assert_eq!(flight.issues(), tries);
        assert_eq!(pause(flight.next(unissued(Status::PG_ERR_CONNECT), NOW)), wait);
        assert!(matches!(flight.next(Input::Resumed, NOW), Step::Issue));
    }
    let outcome = finished(flight.next(unissued(Status::PG_ERR_CONNECT), NOW));
    assert_eq!(outcome.stats.issues, 3);
    assert!(!outcome.stats.credentials_refused);
}

#[test]
fn an_issue_that_was_refused_or_told_to_wait_is_not_tried_again() {
    use Status::{PG_ERR_RATE_LIMITED, PG_ERR_REFUSED, PG_ERR_SERVER};
    let strikes = Plan { strikes: 3, ..issue_only() };
    assert_eq!(
        back_off(issuing(strikes.clone()).next(unissued(PG_ERR_REFUSED), NOW)),
        (4, false, PG_ERR_REFUSED)
    );
    assert_eq!(
        back_off(issuing(strikes).next(unissued(PG_ERR_RATE_LIMITED), NOW)),
        (3, false, PG_ERR_RATE_LIMITED)
    );
    let busy = Error { retry_after: Some(SECOND), ..Error::new(PG_ERR_SERVER, "busy") };
    assert_eq!(ended(issuing(issue_only()).next(called(failed(busy)), NOW)), PG_ERR_SERVER);
    let mut flight = issuing(issue_only());
    flight.next(unissued(PG_ERR_REFUSED), NOW);
    let refusal = Refusal::after(1, false, Error::new(PG_ERR_REFUSED, "refused"), at(100));
    let outcome = finished(flight.next(Input::BackedOff(refusal), NOW));
    assert!(outcome.stats.credentials_refused && outcome.refusal.is_some());
}

#[test]
fn credentials_have_worked_if_the_session_or_the_store_knows_of_a_pair() {
    for (known, stored) in [(true, false), (false, true), (false, false)] {
        let plan = Plan { have_worked: known, ..issue_only() };
        let (mut flight, _) = loaded(plan, Loaded { has_worked: stored, ..Loaded::default() });
        let (_, have_worked, _) = back_off(flight.next(unissued(Status::PG_ERR_REFUSED), NOW));
        assert_eq!(have_worked, known || stored);
    }
}

#[test]
fn a_store_that_fails_is_tried_again_only_before_an_issue_and_only_once() {
    // An intent may hang: another session may have taken the lock.
    let (mut flight, _) = loaded(plan(), Loaded::default());
    assert!(matches!(flight.next(down(), NOW + 5 * SECOND), Step::Lock));
    // A step of just one second counts as hanging.
    let mut flight = after(plan(), [Input::Start]).0;
    assert_eq!(pause(flight.next(down(), NOW + SECOND)), SECOND);
    // After a lost answer too.
    let mut flight = presenting(plan());
    flight.next(lost(), NOW);
    assert!(matches!(flight.next(down(), NOW), Step::Lock));
    // An Issue was made, and the lock is lost before the next one.
    let mut flight = issuing(issue_only());
    follow(&mut flight, [unissued(Status::PG_ERR_CONNECT), Input::Resumed]);
    assert_eq!(flight.issues(), 2);
    let outcome = finished(flight.next(down(), NOW));
    assert_eq!((outcome.stats.issues, outcome.result.unwrap_err().text), (1, "no pair".into()));
}

#[test]
fn a_private_pair_needs_leave_and_credentials() {
    let hangs = |plan| after(plan, [Input::Start]).0.next(down(), NOW + 5 * SECOND);
    assert_eq!(ended(hangs(Plan { allows_private_pair: false, ..plan() })), Status::PG_ERR_STORE);
    assert_eq!(ended(hangs(Plan { may_issue: false, ..plan() })), Status::PG_ERR_STORE);
    assert_eq!(ended(hangs(Plan { looks_only: true, ..plan() })), Status::PG_ERR_STORE);
    let jitter = 7 * SECOND;
    let mut flight = after(Plan { private_issue_jitter: jitter, ..plan() }, [Input::Start]).0;
    assert!(!flight.is_private());
    assert_eq!(pause(flight.next(down(), NOW + 5 * SECOND)), jitter);
    assert!(flight.is_private());
    assert!(matches!(flight.next(Input::Resumed, NOW), Step::Issue));
    let step = flight.next(Input::Called(Box::new(Ok(pair()))), NOW);
    assert!(matches!(step, Step::KeepPrivate(_)), "{step:?}");
    let outcome = finished(flight.next(Input::Committed(Committed::private(pair().token, 2)), NOW));
    assert!(outcome.store_error.is_some() && outcome.result.is_ok());
}

#[test]
fn a_pair_that_the_store_does_not_take_is_offered_for_less_than_two_seconds() {
    let (mut flight, pair) = committing(issue_only());
    let almost = NOW + Duration::from_millis(1999);
    assert_eq!(pause(flight.next(uncommitted(pair), almost)), Duration::from_millis(400));
    // Not an Issue: the pair is there.
    assert!(matches!(flight.next(Input::Resumed, almost), Step::Lock));
    assert_eq!(
        flight.lock_wait(almost),
        Some(Duration::from_millis(1)),
        "no longer than the pair is offered"
    );
    flight.next(Input::Locked(Lock::Held), almost);
    let Step::Commit(pair) = flight.next(Input::Loaded(Loaded::default()), almost) else { panic!() };
    let step = flight.next(uncommitted(pair), NOW + 2 * SECOND);
    assert!(matches!(step, Step::KeepPrivate(_)), "{step:?}");
}

#[test]
fn a_strict_flight_ends_with_an_error_if_its_pair_cannot_be_written() {
    let (mut flight, pair) = committing(Plan { is_strict: true, ..issue_only() });
    assert_eq!(ended(flight.next(uncommitted(pair), NOW + 5 * SECOND)), Status::PG_ERR_STORE);
}

#[test]
fn a_private_pair_is_offered_once_and_given_back() {
    let mut flight = Flight::offering(Plan { offers_private_pair: true, ..plan() }, pair());
    let step =
        follow(&mut flight, [Input::Start, Input::Locked(Lock::Held), Input::Loaded(Loaded::default())]);
    let Step::Commit(pair) = step else { panic!("{step:?}") };
    let outcome = finished(flight.next(uncommitted(pair), NOW));
    assert!(outcome.private_pair.is_some() && !outcome.stats.brought_token());
}

#[test]
fn a_flight_whose_credentials_were_replaced_reports_only_the_calls_that_it_made() {
    let outcome = issuing(issue_only()).yield_to_new_credentials();
    assert!(outcome.stats.looked_only && outcome.stats.issues == 0);
    assert_eq!(
        outcome.result.unwrap_err().text,
        "the credentials were replaced; the next call uses the new ones"
    );
    let mut flight = presenting(plan());
    follow(&mut flight, [lost(), Input::Loaded(Loaded::default())]);
    assert!(!flight.yield_to_new_credentials().stats.looked_only, "it has made a Refresh");
    let mut flight = issuing(issue_only());
    follow(&mut flight, [unissued(Status::PG_ERR_CONNECT), Input::Resumed]);
    let stats = flight.yield_to_new_credentials().stats;
    assert!(!stats.looked_only && stats.issues == 1, "it has made an Issue");
}

#[test]
fn a_flight_with_nothing_to_present_says_what_is_missing() {
    let (mut flight, _) = loaded(Plan { may_issue: false, can_issue: false, ..plan() }, Loaded::default());
    let error = finished(flight.next(Input::Intended(None), NOW)).result.unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_NO_CREDENTIALS);
    assert!(error.text.contains("neither a refresh token that may be presented nor credentials"), "{error}");
}

#[test]
fn the_obstacle_to_an_issue_is_reported() {
    let obstacle = Some(Box::new(Error::new(Status::PG_ERR_REFUSED, "refused a moment ago")));
    let step = loaded(Plan { may_issue: false, obstacle, ..issue_only() }, Loaded::default()).1;
    assert_eq!(finished(step).result.unwrap_err().text, "refused a moment ago");
}

#[test]
fn an_issue_that_a_lost_lock_prevented_is_not_counted() {
    let mut flight = issuing(issue_only());
    assert_eq!(flight.issues(), 1);
    assert!(matches!(flight.next(down(), NOW), Step::Lock), "back to the lock");
    assert_eq!(flight.issues(), 0);
}

#[test]
fn a_refresh_token_that_cannot_be_put_back_does_not_shorten_the_pause_that_the_service_asked_for() {
    let mut flight = presenting(plan());
    let error = Error { fate: Fate::PG_FATE_NOT_CONSUMED, ..Error::new(Status::PG_ERR_RATE_LIMITED, "wait") };
    let step = flight.next(called(Failure { refresh: Some(refresh()), ..failed(error) }), NOW);
    assert!(matches!(step, Step::Retract(_)), "{step:?}");
    assert_eq!(back_off(flight.next(down(), NOW)).2, Status::PG_ERR_RATE_LIMITED);
}

#[test]
fn a_pair_is_handed_out_if_the_store_fails_while_it_is_offered_again_and_the_first_cause_is_reported() {
    let (mut flight, pair) = committing(issue_only());
    let full = Uncommitted { error: Error::new(Status::PG_ERR_STORE, "the store is full"), pair };
    follow(&mut flight, [Input::Uncommitted(full), Input::Resumed]);
    let step = flight.next(down(), NOW + 2 * SECOND);
    let Step::KeepPrivate(pair) = step else { panic!("{step:?}") };
    let outcome =
        finished(flight.next(Input::Committed(Committed::private(pair.token, 1)), NOW + 2 * SECOND));
    assert_eq!(outcome.store_error.unwrap().text, "the store is full");
}

#[test]
fn a_store_step_that_fails_soon_is_repeated_once() {
    let (mut flight, _) = after(plan(), [Input::Start]);
    assert_eq!(flight.lock_wait(NOW), None, "the store has its own limit");
    assert!(matches!(flight.next(down(), NOW + SECOND / 100), Step::Lock));
    assert!(matches!(flight.next(down(), NOW + SECOND / 50), Step::Pause { .. }));
}

#[test]
fn a_look_that_fails_is_repeated_once_without_the_lock() {
    let (mut flight, _) = after(Plan { looks_only: true, ..plan() }, [Input::Start]);
    assert!(matches!(flight.next(down(), NOW), Step::Load));
    assert_eq!(ended(flight.next(down(), NOW)), Status::PG_ERR_STORE);
}
