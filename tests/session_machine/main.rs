//! Single decisions of the session's machine, one moment at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use paymentsgate_auth::clock::Moment;
use paymentsgate_auth::config::OnAmbiguous;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::event::Notice;
use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::session::decision::{Action, Policy, SessionEvent};
use paymentsgate_auth::session::machine::Machine;
use paymentsgate_auth::session::outcome::{FlightOutcome, FlightStats};
use paymentsgate_auth::session::plan::{Cause, Plan};
use paymentsgate_auth::session::rejection::ReportVerdict;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Committed, Refusal};
use paymentsgate_auth::token::{Grant, RefreshToken, Token};

/// A session whose first token, of an hour, came at second 0.
struct Scene {
    machine: Machine,
    callers: u64,
}

fn at(seconds: u64) -> Moment {
    Moment { boot: Duration::from_secs(seconds), wall: Duration::from_secs(1_000_000 + seconds) }
}

fn committed(generation: u64, born: u64) -> Committed {
    let lifetime = Lifetime::of(Duration::from_secs(3600));
    let token = Token::new(Secret::new(&format!("token {generation}")).unwrap(), lifetime, at(born));
    Committed {
        grant: Arc::new(Grant { token, generation, refresh: None }),
        has_refresh: true,
        has_uncertain_age: false,
    }
}

fn outcome(result: Result<Committed, Error>) -> SessionEvent {
    SessionEvent::FlightEnded(Box::new(landing_of(result, FlightStats::default())))
}

fn landing_of(result: Result<Committed, Error>, stats: FlightStats) -> FlightOutcome {
    FlightOutcome {
        result,
        stats,
        ..FlightOutcome::crashed(Error::new(Status::PG_ERR_INTERNAL, "not this one"))
    }
}

impl Scene {
    fn new() -> Self {
        let mut machine = Machine::new(Policy::default(), true, 0, at(0));
        machine.adopt(committed(1, 0), at(0), &mut || 0.5);
        Scene { machine, callers: 0 }
    }

    fn step(&mut self, event: SessionEvent, now: u64) -> Vec<Action> {
        self.machine.step(event, at(now), &mut || 0.5)
    }

    fn ask(&mut self, now: u64, patience: u64, min_remaining: u64) -> Vec<Action> {
        self.callers += 1;
        let deadline = Duration::from_secs(now + patience);
        let min_remaining = Duration::from_secs(min_remaining);
        self.step(SessionEvent::Ask { id: self.callers, deadline, min_remaining, is_newer: false }, now)
    }
}

/// The plan of a launch, and the generations or statuses of the answers.
fn digest(actions: &[Action]) -> (Option<&Plan>, Vec<Result<u64, Status>>) {
    let plan = actions.iter().find_map(|action| match action {
        Action::StartFlight(plan) => Some(plan),
        _ => None,
    });
    let answers = actions.iter().filter_map(|action| match action {
        Action::Answer(_, answer) => {
            Some(answer.as_ref().map(Committed::generation).map_err(|error| error.status))
        }
        _ => None,
    });
    (plan, answers.collect())
}

#[test]
fn fresh_is_served_and_nothing_begins() {
    let actions = Scene::new().ask(2000, 5, 0);
    assert_eq!(digest(&actions), (None, vec![Ok(1)]));
}

#[test]
fn advisory_is_served_while_one_flight_begins() {
    let mut scene = Scene::new();
    // Half of the dice: the background refresh starts 600 s before the end.
    assert!(digest(&scene.ask(2999, 5, 0)).0.is_none());
    let actions = scene.ask(3001, 5, 0);
    let (plan, answers) = digest(&actions);
    assert_eq!(answers, [Ok(1)]);
    assert_eq!(plan.unwrap().base, 1);
    assert!(digest(&scene.ask(3002, 5, 0)).0.is_none(), "there is a flight already");
}

#[test]
fn mandatory_waits_for_the_flight_and_falls_back_on_the_living_token() {
    let mut scene = Scene::new();
    let actions = scene.ask(3500, 60, 0);
    assert!(digest(&actions).0.is_some() && digest(&actions).1.is_empty());
    let lost = Error::new(Status::PG_ERR_CONNECT, "no way");
    assert_eq!(digest(&scene.step(outcome(Err(lost)), 3501)).1, [Ok(1)]);
}

#[test]
fn expired_is_not_handed_out() {
    let mut scene = Scene::new();
    let actions = scene.ask(3571, 60, 0);
    assert!(digest(&actions).1.is_empty());
    assert_eq!(digest(&scene.step(SessionEvent::Leave(1), 3580)).1, [Err(Status::PG_ERR_TIMEOUT)]);
}

#[test]
fn more_life_than_there_is_counts_as_mandatory_and_a_new_token_settles_it() {
    let mut scene = Scene::new();
    let actions = scene.ask(1000, 60, 3000);
    assert!(digest(&actions).0.is_some() && digest(&actions).1.is_empty());
    assert_eq!(digest(&scene.step(outcome(Ok(committed(2, 1001))), 1001)).1, [Ok(2)]);
    assert_eq!(digest(&scene.ask(1002, 60, 99_999)), (None, vec![Ok(2)]), "a new one is not replaced again");
    assert_eq!(
        digest(&scene.ask(2000, 60, 3601)),
        (None, vec![Ok(2)]),
        "what no token can fulfil is not heeded"
    );
}

#[test]
fn nobody_asking_for_a_lifetime_ends_the_background_refresh() {
    let mut scene = Scene::new();
    scene.step(outcome(Ok(committed(2, 3300))), 3300);
    assert!(digest(&scene.step(SessionEvent::Tick, 3300 + 3100)).0.is_none());
    assert_eq!(
        scene.machine.next_wake(at(6400)),
        Some(Duration::from_secs(6430)),
        "only looks whether somebody reads"
    );
    assert!(digest(&scene.ask(6401, 5, 0)).0.is_some(), "the next caller starts it again");
}

#[test]
fn kept_warm_a_session_refreshes_unasked() {
    let mut machine = Machine::new(Policy { keep_warm: true, ..Policy::default() }, true, 0, at(0));
    machine.adopt(committed(2, 3600), at(3600), &mut || 0.5);
    let due = machine.next_wake(at(3600 + 2999)).unwrap();
    assert_eq!(due, Duration::from_secs(3600 + 3000));
    let actions = machine.step(SessionEvent::Tick, at(3600 + 3000), &mut || 0.5);
    assert!(digest(&actions).0.is_some());
}

#[test]
fn success_wipes_out_what_was_held_against_the_service() {
    let mut scene = Scene::new();
    let limited = Error::new(Status::PG_ERR_RATE_LIMITED, "wait");
    let limited = Error { retry_after: Some(Duration::from_secs(3600)), ..limited };
    scene.step(outcome(Err(limited)), 3500);
    assert!(digest(&scene.ask(3501, 5, 0)).0.is_none(), "told to wait");
    scene.step(outcome(Ok(committed(2, 3502))), 3502);
    assert!(digest(&scene.ask(7000, 5, 0)).0.is_some());
}

#[test]
fn a_wall_clock_that_ran_ahead_makes_it_mandatory_once() {
    let mut scene = Scene::new();
    let jumped = Moment { wall: at(1000).wall + Duration::from_secs(61), ..at(1000) };
    let ask = |id| SessionEvent::Ask {
        id,
        deadline: Duration::from_secs(1060),
        min_remaining: Duration::ZERO,
        is_newer: false,
    };
    let actions = scene.machine.step(ask(1), jumped, &mut || 0.5);
    assert!(digest(&actions).0.is_some() && digest(&actions).1.is_empty());
    let lost = outcome(Err(Error::new(Status::PG_ERR_CONNECT, "no way")));
    assert_eq!(digest(&scene.machine.step(lost, jumped, &mut || 0.5)).1, [Ok(1)]);
    let later =
        Moment { boot: jumped.boot + Duration::from_secs(40), wall: jumped.wall + Duration::from_secs(40) };
    let actions = scene.machine.step(ask(2), later, &mut || 0.5);
    assert_eq!(digest(&actions), (None, vec![Ok(1)]), "once");
}

#[test]
fn a_successor_with_the_same_text_does_not_settle_a_refusal() {
    let mut scene = Scene::new();
    let refused = *committed(1, 0).token().fingerprint();
    let (_, actions) = scene.machine.report(refused, at(1000));
    assert_eq!(digest(&actions).0.unwrap().refused, Some(refused));
    let mut same = committed(1, 1001);
    Arc::get_mut(&mut same.grant).unwrap().generation = 2;
    let actions = scene.step(outcome(Ok(same)), 1001);
    assert!(!actions.iter().any(|action| matches!(action, Action::Publish(Some(_)))));
    assert!(digest(&actions).0.is_none(), "not at once, or there would be no end of it");
    assert!(digest(&scene.step(SessionEvent::Tick, 1001 + 301)).0.is_some(), "but after a pause");
}

#[test]
fn a_short_life_is_refreshed_in_the_background_as_soon_as_the_floor_allows() {
    let mut machine = Machine::new(Policy { keep_warm: true, ..Policy::default() }, true, 0, at(0));
    let lifetime = Lifetime::of(Duration::from_secs(46));
    let token = Token::new(Secret::new("short").unwrap(), lifetime, at(0));
    let grant = Arc::new(Grant { token, generation: 1, refresh: None });
    machine.adopt(Committed { grant, has_refresh: true, has_uncertain_age: false }, at(0), &mut || 0.0);
    let due = machine.next_wake(at(0)).unwrap();
    assert!(due > at(1).boot && due < at(46).boot, "{due:?}");
    let then = Moment { boot: due, wall: at(0).wall + due };
    assert!(digest(&machine.step(SessionEvent::Tick, then, &mut || 0.0)).0.is_some());
}

/// What the service gives for a plan: a token of that generation, born then.
fn successor(plan: &Plan, generation: u64, born: u64) -> SessionEvent {
    let mut successor = committed(generation, born);
    Arc::get_mut(&mut successor.grant).unwrap().token.refused_young = plan.refused_young;
    landing_of_flight(successor)
}

fn landing_of_flight(successor: Committed) -> SessionEvent {
    SessionEvent::FlightEnded(Box::new(landing_of(
        Ok(successor),
        FlightStats { issues: 1, ..FlightStats::default() },
    )))
}

/// Reports the token of that generation, and lands what follows in the same second.
fn report(scene: &mut Scene, generation: u64, now: u64) -> ReportVerdict {
    let (verdict, actions) = scene.machine.report(*committed(generation, 0).token().fingerprint(), at(now));
    if let Some(plan) = digest(&actions).0.cloned() {
        scene.step(successor(&plan, generation + 1, now), now);
    }
    verdict
}

fn later(seconds: u64) -> ReportVerdict {
    // Half of the dice: an eighth more.
    ReportVerdict::RejectedFresh { retry_after: Duration::from_millis(seconds * 1125) }
}

#[test]
fn two_revocations_in_a_row_cost_two_calls_and_no_time() {
    let mut scene = Scene::new();
    assert_eq!(report(&mut scene, 1, 1000), ReportVerdict::Renewing);
    assert_eq!(report(&mut scene, 2, 1005), ReportVerdict::Renewing);
    assert_eq!(digest(&scene.ask(1006, 5, 0)).1, [Ok(3)]);
}

#[test]
fn many_reports_of_one_token_count_once() {
    let mut scene = Scene::new();
    assert_eq!(report(&mut scene, 1, 1000), ReportVerdict::Renewing);
    assert_eq!(report(&mut scene, 2, 1001), ReportVerdict::Renewing);
    for _ in 0..5 {
        assert_eq!(report(&mut scene, 3, 1001), later(1));
        assert_eq!(digest(&scene.ask(1001, 5, 0)).1, [Ok(3)], "it goes on being served");
    }
    assert_eq!(report(&mut scene, 3, 1003), ReportVerdict::Renewing);
    assert_eq!(report(&mut scene, 4, 1003), later(2), "the second pause, not the sixth");
}

#[test]
fn a_service_that_refuses_every_token_is_asked_once_a_minute_and_for_as_long_as_it_takes() {
    let mut scene = Scene::new();
    let (mut generation, mut last) = (1, 0);
    let mut replaced = Vec::new();
    for now in 1000..4000 {
        if report(&mut scene, generation, now) == ReportVerdict::Renewing {
            replaced.push(now - last);
            (generation, last) = (generation + 1, now);
        }
    }
    assert_eq!(
        replaced[1..9],
        [1, 2, 3, 5, 9, 18, 36, 68],
        "1 s, doubled up to a minute, and an eighth more"
    );
    assert!(replaced[8..].iter().all(|pause| *pause == 68) && replaced.len() > 40, "{replaced:?}");
}

#[test]
fn what_the_service_accepted_or_left_alone_for_half_a_minute_is_replaced_at_once() {
    let mut scene = Scene::new();
    report(&mut scene, 1, 1000);
    report(&mut scene, 2, 1001);
    report(&mut scene, 3, 1003);
    assert_eq!(report(&mut scene, 4, 1004), later(2).minus(1));
    scene.machine.accept(*committed(4, 0).token().fingerprint());
    assert_eq!(report(&mut scene, 4, 1005), ReportVerdict::Renewing, "a row begins anew at a second");
    assert_eq!(report(&mut scene, 5, 1036), ReportVerdict::Renewing);
    assert_eq!(report(&mut scene, 6, 1037), ReportVerdict::Renewing, "the row has ended");
}

#[test]
fn a_pause_in_a_row_keeps_nobody_from_what_others_got() {
    let policy = Policy { is_shared: true, ..Policy::default() };
    let mut scene = Scene { machine: Machine::new(policy, true, 0, at(0)), callers: 0 };
    scene.machine.adopt(committed(1, 0), at(0), &mut || 0.5);
    for (generation, now) in [(1, 1001), (2, 1002), (3, 1004)] {
        assert_eq!(report(&mut scene, generation, now), ReportVerdict::Renewing);
    }
    let refused = *committed(4, 0).token().fingerprint();
    let looks = |scene: &mut Scene, now| {
        let (verdict, actions) = scene.machine.report(refused, at(now));
        assert!(matches!(verdict, ReportVerdict::RejectedFresh { .. }), "{verdict:?}");
        digest(&actions).0.map(|plan| plan.looks_only)
    };
    assert_eq!(looks(&mut scene, 1004), None, "the flight that brought it has just looked");
    assert_eq!(looks(&mut scene, 1005), Some(true));
    assert_eq!(looks(&mut scene, 1005), None, "one look at a time");
    let adopted = FlightStats { adopted: true, looked_only: true, ..FlightStats::default() };
    scene.step(SessionEvent::FlightEnded(Box::new(landing_of(Ok(committed(5, 1005)), adopted))), 1005);
    assert_eq!(digest(&scene.ask(1005, 5, 0)).1, [Ok(5)]);
}

/// A session on a store with others, whose token is over and whose last call was answered like that, at second 3601.
fn after_failure(error: Error) -> Scene {
    let policy = Policy { is_shared: true, ..Policy::default() };
    let mut scene = Scene { machine: Machine::new(policy, true, 0, at(0)), callers: 0 };
    scene.machine.adopt(committed(1, 0), at(0), &mut || 1.0);
    let actions = scene.ask(3600, 5, 0);
    let Plan { have_worked, strikes, scatter, .. } = digest(&actions).0.unwrap();
    assert_eq!(
        (*have_worked, *scatter),
        (true, Duration::from_secs(1)),
        "nobody waits for long who has nothing"
    );
    let log =
        FlightStats { issues: 1, spent: error.status == Status::PG_ERR_REFUSED, ..FlightStats::default() };
    let refusal = Refusal::after(strikes + 1, *have_worked, error.clone(), at(3601));
    let outcome = FlightOutcome { refusal: Some(refusal), ..landing_of(Err(error), log) };
    scene.machine.step(SessionEvent::FlightEnded(Box::new(outcome)), at(3601), &mut || 1.0);
    scene
}

#[test]
fn an_obstacle_keeps_nobody_from_what_others_got() {
    let asked = Error::new(Status::PG_ERR_RATE_LIMITED, "later");
    let mut scene = after_failure(Error { retry_after: Some(Duration::from_secs(60)), ..asked });
    let actions = scene.ask(3603, 5, 0);
    assert!(digest(&actions).0.unwrap().looks_only);
    let adopted = FlightStats { adopted: true, looked_only: true, ..FlightStats::default() };
    let landed = SessionEvent::FlightEnded(Box::new(landing_of(Ok(committed(2, 3602)), adopted)));
    assert!(digest(&scene.step(landed, 3604)).1.contains(&Ok(2)));
}

#[test]
fn credentials_that_have_worked_are_tried_again_after_a_second() {
    let mut scene = after_failure(Error::new(Status::PG_ERR_REFUSED, "no"));
    assert!(digest(&scene.ask(3603, 5, 0)).0.is_some_and(|plan| !plan.looks_only));
}

#[test]
fn a_caller_who_finds_no_token_ends_a_pause_that_was_long_enough() {
    let mut scene = after_failure(Error::new(Status::PG_ERR_CONNECT, "down"));
    // The pauses grow: the second may last for four seconds.
    for now in [3603, 3605] {
        scene.machine.step(SessionEvent::Tick, at(now), &mut || 1.0);
        let failed = landing_of(Err(Error::new(Status::PG_ERR_CONNECT, "down")), FlightStats::default());
        scene.machine.step(SessionEvent::FlightEnded(Box::new(failed)), at(now), &mut || 1.0);
    }
    assert!(digest(&scene.step(SessionEvent::Tick, 3607)).0.is_none(), "the pause goes on");
    assert!(digest(&scene.ask(3607, 5, 0)).0.is_some_and(|plan| !plan.looks_only));
}

#[test]
fn a_living_token_is_handed_out_after_half_of_a_callers_time() {
    let mut scene = Scene::new();
    assert_eq!(digest(&scene.ask(3500, 8, 0)).1, [], "it is about to end, and a flight begins");
    assert_eq!(digest(&scene.step(SessionEvent::Tick, 3503)).1, []);
    assert_eq!(digest(&scene.step(SessionEvent::Tick, 3504)).1, [Ok(1)]);
    assert_eq!(digest(&scene.ask(3505, 60, 0)).1, []);
    assert_eq!(
        digest(&scene.step(SessionEvent::Tick, 3510)).1,
        [Ok(1)],
        "and after five seconds at the latest"
    );
}

trait Minus {
    fn minus(self, seconds: u64) -> ReportVerdict;
}

impl Minus for ReportVerdict {
    fn minus(self, seconds: u64) -> ReportVerdict {
        let ReportVerdict::RejectedFresh { retry_after } = self else { panic!("{self:?}") };
        ReportVerdict::RejectedFresh { retry_after: retry_after - Duration::from_secs(seconds) }
    }
}

#[test]
fn an_old_token_that_was_only_just_adopted_is_refused_as_an_old_one() {
    for (born, issue_only) in [(0, false), (990, true)] {
        let mut machine = Machine::new(Policy::default(), true, 0, at(1000));
        machine.adopt(committed(1, born), at(1000), &mut || 0.5);
        let (_, actions) = machine.report(*committed(1, born).token().fingerprint(), at(1001));
        assert_eq!(digest(&actions).0.unwrap().issue_only, issue_only, "born at {born}");
    }
}

#[test]
fn close_answers_those_who_wait_for_a_flight() {
    let mut scene = Scene::new();
    assert!(digest(&scene.ask(3600, 60, 0)).1.is_empty());
    assert_eq!(digest(&scene.step(SessionEvent::Close, 3601)).1, [Err(Status::PG_ERR_CLOSED)]);
}

#[test]
fn a_token_of_unknown_age_is_renewed_before_it_is_used_if_that_can_be_done() {
    let mut scene = Scene::new();
    let doubted = Committed { has_uncertain_age: true, ..committed(1, 0) };
    scene.machine.adopt(doubted, at(0), &mut || 0.5);
    let actions = scene.ask(1, 5, 0);
    let (plan, answers) = digest(&actions);
    assert!(plan.is_some_and(|plan| plan.cause == Cause::Asked) && answers.is_empty());
    let failed = outcome(Err(Error::new(Status::PG_ERR_CONNECT, "down")));
    assert_eq!(digest(&scene.step(failed, 2)).1, [Ok(1)], "it is all there is");
    assert_eq!(digest(&scene.ask(3, 5, 0)).1, [Ok(1)], "and is served from then on");
}

/// A session without credentials, from a pair.
fn from_a_pair(on_ambiguous: OnAmbiguous) -> Scene {
    let policy = Policy { on_ambiguous, host_keeps: true, ..Policy::default() };
    let mut machine = Machine::new(policy, false, 0, at(0));
    machine.adopt(committed(1, 0), at(0), &mut || 0.5);
    Scene { machine, callers: 0 }
}

#[test]
fn who_has_nothing_but_a_pair_replays_it() {
    for (chosen, planned) in [
        (OnAmbiguous::Issue, OnAmbiguous::Replay),
        (OnAmbiguous::Replay, OnAmbiguous::Replay),
        (OnAmbiguous::Fail, OnAmbiguous::Fail),
    ] {
        let actions = from_a_pair(chosen).ask(3590, 5, 0);
        let plan = digest(&actions).0.unwrap();
        assert!(plan.on_ambiguous == planned && plan.host_keeps && !plan.may_issue);
    }
}

#[test]
fn a_replay_waits_for_the_end_of_the_token_and_no_longer_than_it_is_good() {
    for is_refused in [false, true] {
        let mut scene = from_a_pair(OnAmbiguous::Issue);
        scene.ask(2900, 5, 0);
        let maybe_spent = RefreshToken::new(Secret::new("perhaps spent").unwrap()).into_maybe_spent();
        let lost = Error::new(Status::PG_ERR_CONNECTION_LOST, "lost");
        scene.step(
            SessionEvent::FlightEnded(Box::new(FlightOutcome {
                maybe_spent,
                ..landing_of(Err(lost), FlightStats::default())
            })),
            2901,
        );
        if is_refused {
            scene.machine.report(*committed(1, 0).token().fingerprint(), at(2902));
        }
        let replays = digest(&scene.ask(2910, 5, 0)).0.is_some();
        assert_eq!(replays, is_refused);
    }
}

#[test]
fn a_spent_pair_without_credentials_ends_in_an_error_and_in_peace() {
    let mut scene = from_a_pair(OnAmbiguous::Issue);
    scene.ask(3590, 5, 0);
    let log = FlightStats { refreshes: 1, refused: true, spent: true, ..FlightStats::default() };
    let refused = Error::new(Status::PG_ERR_REFUSED, "refused");
    let outcome = landing_of(Err(refused), log);
    let actions = scene.step(SessionEvent::FlightEnded(Box::new(outcome)), 3591);
    assert_eq!(digest(&actions).1, [Err(Status::PG_ERR_NO_CREDENTIALS)]);
    assert_eq!(digest(&scene.ask(4000, 5, 0)).1, [Err(Status::PG_ERR_NO_CREDENTIALS)]);
    assert_eq!(scene.machine.next_wake(at(4000)), None, "no timer rings for what cannot be helped");
    assert!(
        digest(&scene.step(SessionEvent::NewCredentials { has_new_record: false }, 4001))
            .0
            .is_some_and(|plan| plan.may_issue)
    );
}

#[test]
fn to_fail_on_a_lost_answer_lasts_until_there_are_new_credentials() {
    let policy = Policy { on_ambiguous: OnAmbiguous::Fail, ..Policy::default() };
    let mut machine = Machine::new(policy, true, 0, at(0));
    machine.adopt(committed(1, 0), at(0), &mut || 0.5);
    let mut scene = Scene { machine, callers: 0 };
    scene.ask(3590, 5, 0);
    let log = FlightStats { refreshes: 1, ambiguous: true, spent: true, ..FlightStats::default() };
    let lost = Error::new(Status::PG_ERR_CONNECTION_LOST, "lost");
    let refusal = Refusal::after(0, true, lost.clone(), at(3591));
    let outcome =
        FlightOutcome { lost: Some(lost.clone()), refusal: Some(refusal), ..landing_of(Err(lost), log) };
    let actions = scene.step(SessionEvent::FlightEnded(Box::new(outcome)), 3591);
    let ambiguous = |action: &Action| matches!(action, Action::Notify(Notice::Ambiguous(_)));
    assert!(actions.iter().any(ambiguous));
    assert_eq!(digest(&scene.ask(9000, 5, 0)).1, [Err(Status::PG_ERR_CONNECTION_LOST)]);
    assert!(digest(&scene.step(SessionEvent::NewCredentials { has_new_record: false }, 9001)).0.is_some());
}

fn news(actions: &[Action]) -> Vec<&'static str> {
    let news = actions.iter().filter_map(|action| match action {
        Action::Notify(notice) => Some(notice),
        _ => None,
    });
    let name = |notice: &Notice| match notice {
        Notice::Rotated(_) => "rotated",
        Notice::RefreshFailed(_) => "refresh failed",
        Notice::Ambiguous(_) => "ambiguous",
        Notice::CredentialsRejected(_) => "credentials rejected",
        Notice::Degraded(_) => "degraded",
        Notice::Recovered => "recovered",
    };
    news.map(name).collect()
}

#[test]
fn trouble_is_told_once_and_so_is_its_end() {
    let mut scene = Scene::new();
    let failure = || outcome(Err(Error::new(Status::PG_ERR_CONNECT, "down")));
    scene.ask(3590, 5, 0);
    assert_eq!(news(&scene.step(failure(), 3591)), ["refresh failed", "degraded"]);
    scene.ask(3700, 5, 0);
    assert_eq!(news(&scene.step(failure(), 3701)), ["refresh failed"]);
    scene.ask(3800, 5, 0);
    assert_eq!(news(&scene.step(outcome(Ok(committed(2, 3801))), 3801)), ["rotated", "recovered"]);
    scene.step(SessionEvent::Close, 3802);
    assert_eq!(news(&scene.step(failure(), 3803)), [""; 0], "a closed session tells nothing");
}
#[test]
fn a_token_is_withdrawn_once_at_the_moment_it_turns_mandatory() {
    let mut scene = Scene::new();
    scene.step(outcome(Ok(committed(2, 3300))), 3300);
    let withdrawn = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Withdraw));
    let moment = 3300 + 3600 - 120;
    assert!(!withdrawn(&scene.step(SessionEvent::Tick, moment - 1)));
    assert_eq!(scene.machine.next_wake(at(moment - 1)), Some(Duration::from_secs(moment)));
    assert!(withdrawn(&scene.step(SessionEvent::Tick, moment)));
    assert!(!withdrawn(&scene.step(SessionEvent::Tick, moment + 1)));
}

#[test]
fn what_is_refused_or_closed_is_not_withdrawn_besides() {
    let mut refused = Scene::new();
    refused.machine.report(*committed(1, 0).token().fingerprint(), at(60));
    let mut closed = Scene::new();
    closed.step(SessionEvent::Close, 60);
    for mut scene in [refused, closed] {
        let actions = scene.step(SessionEvent::Tick, 3599);
        assert!(!actions.iter().any(|action| matches!(action, Action::Withdraw)), "{actions:?}");
    }
}

/// A machine whose token of an hour came at second 0, on a store that others use.
fn sharing() -> Scene {
    let mut machine = Machine::new(Policy { is_shared: true, ..Policy::default() }, true, 0, at(0));
    machine.adopt(committed(1, 0), at(0), &mut || 0.5);
    Scene { machine, callers: 0 }
}

fn refused(scene: &mut Scene, status: Status, wait: u64, now: u64) -> Vec<Action> {
    let error = Error { retry_after: Some(Duration::from_secs(wait)), ..Error::new(status, "no") };
    let refusal = Refusal::after(0, true, error.clone(), at(now));
    let log = FlightStats { issues: 1, ..FlightStats::default() };
    let outcome = FlightOutcome { refusal: Some(refusal), ..landing_of(Err(error), log) };
    scene.step(SessionEvent::FlightEnded(Box::new(outcome)), now)
}

#[test]
fn an_obstacle_lets_those_who_ask_look_into_the_store_once_a_second() {
    let mut scene = sharing();
    scene.ask(3600, 5, 0);
    refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 900, 3601);
    assert!(digest(&scene.ask(3601, 5, 0)).0.is_none(), "it was read a moment ago");
    let actions = scene.ask(3602, 5, 0);
    let (plan, answers) = digest(&actions);
    assert!(plan.unwrap().looks_only && answers.is_empty());
    let nothing = Error::new(Status::PG_ERR_STORE, "nothing newer");
    let log = FlightStats { looked_only: true, ..FlightStats::default() };
    let actions = scene.step(SessionEvent::FlightEnded(Box::new(landing_of(Err(nothing), log))), 3602);
    assert_eq!(digest(&actions).1, [Err(Status::PG_ERR_RATE_LIMITED)]);
    scene.ask(3603, 5, 0);
    let log = FlightStats { looked_only: true, adopted: true, ..FlightStats::default() };
    let actions =
        scene.step(SessionEvent::FlightEnded(Box::new(landing_of(Ok(committed(2, 3602)), log))), 3603);
    assert_eq!(digest(&actions).1, [Ok(2)]);
    assert!(scene.machine.obstacle(at(3603)).is_none(), "what others got ends it");
}

#[test]
fn a_caller_that_waits_out_an_obstacle_is_woken_to_look() {
    let mut scene = sharing();
    scene.ask(3600, 1000, 0);
    refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 900, 3601);
    assert_eq!(scene.machine.next_wake(at(3601)), Some(Duration::from_secs(3602)));
    assert!(digest(&scene.step(SessionEvent::Tick, 3602)).0.unwrap().looks_only);
}

#[test]
fn a_memory_of_ones_own_is_not_looked_into() {
    let mut scene = Scene::new();
    scene.ask(3600, 5, 0);
    refused(&mut scene, Status::PG_ERR_RATE_LIMITED, 900, 3601);
    assert_eq!(digest(&scene.ask(3610, 5, 0)), (None, vec![Err(Status::PG_ERR_RATE_LIMITED)]));
}

#[test]
fn without_the_store_processes_scatter_as_far_as_what_they_have_lasts() {
    for (now, scatter) in [(3500, 10.0), (3560, 5.0), (3590, 1.0)] {
        let actions = Scene::new().ask(now, 60, 0);
        assert_eq!(digest(&actions).0.unwrap().scatter, Duration::from_secs_f64(scatter), "{now}");
    }
}

#[test]
fn a_caller_is_content_with_a_living_token_after_half_of_its_time() {
    for (patience, content) in [(4, 2), (60, 5)] {
        let mut scene = Scene::new();
        assert!(digest(&scene.ask(3500, patience, 0)).1.is_empty());
        assert_eq!(scene.machine.next_wake(at(3500)), Some(Duration::from_secs(3500 + content)));
        assert_eq!(digest(&scene.step(SessionEvent::Tick, 3500 + content)).1, [Ok(1)]);
    }
}

#[test]
fn another_token_is_wanted_whatever_the_phase_and_its_age() {
    let mut scene = Scene::new();
    let ask = |id| SessionEvent::Ask {
        id,
        deadline: Duration::from_secs(60),
        min_remaining: Duration::ZERO,
        is_newer: true,
    };
    let actions = scene.step(ask(1), 2);
    assert!(digest(&actions).0.is_some() && digest(&actions).1.is_empty());
    assert!(digest(&scene.step(ask(2), 3)).0.is_none(), "one flight for all");
    let newer = SessionEvent::FlightEnded(Box::new(landing_of(
        Ok(committed(2, 3)),
        FlightStats { refreshes: 1, ..FlightStats::default() },
    )));
    assert_eq!(digest(&scene.step(newer, 3)).1, [Ok(2), Ok(2)]);
    let actions = scene.step(ask(3), 4);
    assert_eq!(digest(&actions).0.unwrap().base, 2);
    assert_eq!(digest(&scene.step(SessionEvent::Leave(3), 5)).1, [Err(Status::PG_ERR_TIMEOUT)]);
}

#[test]
fn with_another_key_the_record_is_another_one_and_the_token_goes_on() {
    let mut scene = sharing();
    scene.step(SessionEvent::NewCredentials { has_new_record: true }, 10);
    assert_eq!(digest(&scene.ask(20, 5, 0)), (None, vec![Ok(1)]), "it works as before");
    let actions = scene.ask(3500, 5, 0);
    let plan = digest(&actions).0.unwrap();
    assert!(plan.stored == 0 && !plan.publishes, "whatever is in the new record is newer: {plan:?}");
}

#[test]
fn what_was_got_for_a_record_that_was_left_is_not_taken_for_the_new_one() {
    let mut scene = sharing();
    scene.ask(3600, 60, 0);
    scene.step(SessionEvent::NewCredentials { has_new_record: true }, 3601);
    let actions = scene.step(outcome(Ok(committed(2, 3601))), 3602);
    let (plan, answers) = digest(&actions);
    assert!(
        answers.is_empty() && plan.is_some_and(|plan| plan.stored == 0),
        "the next flight has the new key"
    );
}
