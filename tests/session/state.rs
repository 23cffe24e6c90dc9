//! The state that a session shows: its health and its generation word.

use crate::fixture::Fixture;
use crate::support::{NOW, PATIENCE, eventually};

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
