//! The state that a session shows: its health and its generation word.

use paymentsgate_auth::client_metrics;
use paymentsgate_auth::session::Session;

use crate::fixture::Fixture;
use crate::support::{NOW, PATIENCE, config, eventually};

#[test]
fn health_shows_the_state_and_no_secret() {
    let fixture = Fixture::new();
    fixture.token();
    let token = fixture.token();
    let health = serde_json::to_string(&fixture.session.health().unwrap()).unwrap();
    for part in [
        r#""phase":"fresh""#,
        r#""generation":1"#,
        r#""issues":1"#,
        r#""waited":1"#,
        r#""served":1"#,
        r#""cause":"first""#,
        &token.token.fingerprint().to_string(),
    ] {
        assert!(health.contains(part), "{health}");
    }
    assert!(!health.contains(token.token.access.expose()), "{health}");
}

#[test]
fn one_question_for_each_token_is_enough_for_a_background_refresh() {
    let fixture = Fixture::new();
    fixture.token();
    for generation in 1..4 {
        let number = fixture.word();
        assert!(number != 0, "while the word is not zero, a token is handed out without a call");
        assert_eq!(fixture.session.token(NOW, NOW).unwrap().generation, generation);
        // Into the advisory window, past the random time of the refresh.
        fixture.pass(3600 - 400);
        eventually("a background refresh", || ![0, number].contains(&fixture.word()));
        assert_eq!(fixture.calls(), (1, generation));
    }
}

#[test]
fn the_generation_word_changes_with_each_rotation_report_and_close() {
    let fixture = Fixture::new();
    assert_eq!(fixture.word(), 0, "there is no token yet");
    let first = fixture.token();
    let number = fixture.word();
    assert!(number != 0);
    fixture.session.reject(*first.token.fingerprint()).unwrap();
    assert!(fixture.word() != number, "reported");
    fixture.token();
    assert!(fixture.word() != number && fixture.word() != 0);
    fixture.session.close(PATIENCE).unwrap();
    assert_eq!(fixture.word(), 0, "closed");
}

#[test]
fn the_metrics_of_a_client_are_those_of_its_open_sessions() {
    let fixture = Fixture::new();
    fixture.token();
    let other = Session::open(&fixture.client, &config(&fixture.sandbox)).unwrap();
    other.token(PATIENCE, NOW).unwrap();
    let generations = || {
        let metrics = client_metrics(&fixture.client).unwrap();
        let lines = metrics.lines().filter(|line| line.starts_with("paymentsgate_auth_session_generation{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(generations().len(), 2);
    other.close(PATIENCE).unwrap();
    let lines = generations();
    assert!(lines.len() == 1 && lines[0].ends_with(" 1"), "{lines:?}");
    let name = lines[0].split("login=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(name.len() >= 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
}
