use serde_json::json;

use super::*;
use crate::switches::{DetailsKey, RetryAfter};

const START: u64 = 1_700_000_000_000;
const SECOND: u64 = 1000;

/// A service, its account, and a clock that only the test moves.
struct Fixture {
    state: State,
    credentials: Credentials,
    now: u64,
}

/// The pair in an answer.
struct Pair {
    access: String,
    refresh: String,
}

impl Pair {
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = |key: &str| answer.body[key].as_str().unwrap_or_default().to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token") }
    }
}

fn fixture(change: impl FnOnce(&mut Switches)) -> Fixture {
    let mut switches = Switches::default();
    change(&mut switches);
    let credentials = Credentials::new().unwrap();
    Fixture { state: State::new(switches, &credentials), credentials, now: START }
}

impl Fixture {
    fn call(&mut self, method: &str, path: &str, bearer: Option<&str>, body: &Value) -> Answer {
        let mut call = Call { method: method.into(), path: path.into(), ..Call::default() };
        call.headers.insert("content-type".into(), "application/json; charset=utf-8".into());
        if let Some(token) = bearer {
            call.headers.insert("authorization".into(), format!("Bearer {token}"));
        }
        call.body = body.to_string();
        self.state.answer(&call, self.now)
    }

    fn try_issue(&mut self) -> Answer {
        let body =
            json!({"account_id": self.credentials.account_id, "public_key": self.credentials.public_key});
        self.call("POST", "/auth/token", None, &body)
    }

    fn issue(&mut self) -> Pair {
        Pair::of(&self.try_issue())
    }

    fn try_refresh(&mut self, bearer: Option<&str>, token: &str) -> Answer {
        self.call("POST", "/auth/token/refresh", bearer, &json!({"refresh_token": token}))
    }

    fn refresh(&mut self, token: &str) -> Pair {
        Pair::of(&self.try_refresh(None, token))
    }

    fn refused(&mut self, token: &str, reason: &str) {
        let answer = self.try_refresh(None, token);
        assert_eq!((answer.status, &answer.body["details"]["reason"]), (401, &json!(reason)));
    }

    fn lets_in(&mut self, access: &str) -> bool {
        self.call("GET", "/wallet", Some(access), &Value::Null).status == 200
    }

    fn pass(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
    }
}

#[test]
fn a_refresh_gives_a_new_pair_and_leaves_the_old_access_token_alive() {
    let mut fixture = fixture(|_| {});
    let first = fixture.issue();
    let second = fixture.refresh(&first.refresh);
    assert_ne!(first.access, second.access);
    assert_ne!(first.refresh, second.refresh);
    assert!(fixture.lets_in(&first.access) && fixture.lets_in(&second.access));
    assert!(!fixture.lets_in("else"));
    assert_eq!((fixture.state.totals.issued, fixture.state.totals.refreshed), (1, 1));
}

#[test]
fn wrong_credentials_are_not_found() {
    let mut fixture = fixture(|_| {});
    fixture.credentials.public_key.push('=');
    let answer = fixture.try_issue();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.body["error"], "ERROR_CREDENTIALS_NOT_FOUND");
    assert_eq!(answer.body["statusCode"], 401);
}

#[test]
fn single_use_tokens_work_once() {
    let mut fixture = fixture(|_| {});
    let first = fixture.issue();
    let second = fixture.refresh(&first.refresh);
    fixture.refused(&first.refresh, "reused");
    fixture.refresh(&second.refresh);
    fixture.refused("else", "unknown");
}

#[test]
fn a_static_refresh_token_stays_the_same_in_every_answer() {
    let mut fixture = fixture(|s| s.rotation = Rotation::Static);
    let first = fixture.issue();
    let second = fixture.refresh(&first.refresh);
    assert_eq!(first.refresh, second.refresh);
    assert_ne!(first.access, fixture.refresh(&first.refresh).access);
}

#[test]
fn a_window_allows_reuse_for_some_seconds() {
    let mut fixture = fixture(|s| s.rotation = Rotation::Window(30));
    let first = fixture.issue();
    let second = fixture.refresh(&first.refresh);
    fixture.pass(29);
    let third = fixture.refresh(&first.refresh);
    assert_ne!(second.refresh, third.refresh);
    fixture.pass(1);
    fixture.refused(&first.refresh, "reused");
    fixture.refresh(&second.refresh);
}

#[test]
fn reuse_can_revoke_its_family_and_no_other() {
    let mut fixture = fixture(|s| s.reuse_revokes_family = true);
    let first = fixture.issue();
    let other = fixture.issue();
    let second = fixture.refresh(&first.refresh);
    fixture.refused(&first.refresh, "reused");
    fixture.refused(&second.refresh, "revoked");
    assert!(!fixture.lets_in(&second.access));
    assert!(fixture.lets_in(&other.access));
}

#[test]
fn a_refresh_can_end_the_old_access_token() {
    let mut fixture = fixture(|s| s.old_access_dies_on_refresh = true);
    let first = fixture.issue();
    let second = fixture.refresh(&first.refresh);
    assert!(!fixture.lets_in(&first.access) && fixture.lets_in(&second.access));
}

#[test]
fn a_second_issue_can_end_the_first_pair() {
    let mut fixture = fixture(|s| s.second_issue_kills_first = true);
    let first = fixture.issue();
    let second = fixture.issue();
    assert!(!fixture.lets_in(&first.access) && fixture.lets_in(&second.access));
    fixture.refused(&first.refresh, "revoked");
}

#[test]
fn a_refresh_can_require_a_bearer() {
    let mut fixture = fixture(|s| s.bearer_on_refresh = BearerOnRefresh::Required);
    let first = fixture.issue();
    let stranger = fixture.issue();
    assert_eq!(fixture.try_refresh(None, &first.refresh).status, 401);
    assert_eq!(fixture.try_refresh(Some(&stranger.access), &first.refresh).status, 401);
    fixture.pass(3600);
    Pair::of(&fixture.try_refresh(Some(&first.access), &first.refresh));
}

#[test]
fn a_refresh_can_require_a_valid_bearer() {
    let mut fixture = fixture(|s| s.bearer_on_refresh = BearerOnRefresh::Unexpired);
    let first = fixture.issue();
    fixture.pass(3599);
    let second = Pair::of(&fixture.try_refresh(Some(&first.access), &first.refresh));
    fixture.pass(3600);
    let answer = fixture.try_refresh(Some(&second.access), &second.refresh);
    assert_eq!(answer.body["details"]["reason"], "bearer");
}

#[test]
fn both_lifetimes_are_enforced() {
    let mut fixture = fixture(|s| (s.access_lifetime_s, s.refresh_lifetime_s) = (60, 100));
    let first = fixture.issue();
    fixture.pass(59);
    assert!(fixture.lets_in(&first.access));
    fixture.pass(1);
    assert!(!fixture.lets_in(&first.access));
    fixture.pass(40);
    fixture.refused(&first.refresh, "expired");
}

#[test]
fn the_rate_limit_uses_a_sliding_window() {
    let limit = RateLimit { requests: 2, per_s: 10, retry_after: Some(RetryAfter::Seconds(7)) };
    let mut fixture = fixture(|s| s.rate_limit = Some(limit));
    let first = fixture.issue();
    fixture.pass(5);
    fixture.refresh(&first.refresh);
    let answer = fixture.try_issue();
    assert_eq!((answer.status, answer.headers), (429, vec![("retry-after", "7".into())]));
    assert!(fixture.lets_in(&first.access), "business calls are not limited");
    fixture.pass(5);
    fixture.issue();
    assert_eq!(fixture.try_issue().status, 429);
}

#[test]
fn retry_after_has_two_forms_or_none() {
    let limit = |retry_after| Some(RateLimit { requests: 0, per_s: 1, retry_after });
    let mut fixture = fixture(|s| s.rate_limit = limit(Some(RetryAfter::Date { date: 20 })));
    assert_eq!(fixture.try_issue().headers, [("retry-after", "Tue, 14 Nov 2023 22:13:40 GMT".into())]);
    fixture.state.switches.rate_limit = limit(None);
    assert_eq!(fixture.try_issue().headers, []);
}

#[test]
fn expires_in_has_three_forms() {
    let mut fixture = fixture(|s| s.access_lifetime_s = 60);
    assert_eq!(fixture.try_issue().body["expires_in"], json!(60));
    fixture.state.switches.expires_in_form = ExpiresInForm::String;
    assert_eq!(fixture.try_issue().body["expires_in"], json!("60"));
    fixture.state.switches.expires_in_form = ExpiresInForm::Absent;
    assert_eq!(fixture.try_issue().body.get("expires_in"), None);
}

#[test]
fn the_refresh_token_can_be_left_out() {
    let mut fixture = fixture(|s| {
        s.refresh_returns_refresh_token = false;
        s.rotation = Rotation::Static;
    });
    let first = fixture.issue();
    assert_eq!(fixture.try_refresh(None, &first.refresh).body.get("refresh_token"), None);
    fixture.refresh(&first.refresh);
    fixture.state.switches.issue_returns_refresh_token = false;
    assert_eq!(fixture.try_issue().body.get("refresh_token"), None);
}

#[test]
fn the_status_of_a_refusal_and_the_name_of_its_details_can_be_chosen() {
    let mut fixture = fixture(|s| (s.refused_status, s.details_key) = (400, DetailsKey::Data));
    let answer = fixture.try_refresh(None, "else");
    assert_eq!((answer.status, &answer.body["statusCode"]), (400, &json!(400)));
    assert_eq!(answer.body["data"]["reason"], "unknown");
    assert_eq!(answer.body.get("details"), None);
}

#[test]
fn a_body_that_is_not_json_is_a_bad_request() {
    let mut fixture = fixture(|_| {});
    let call = Call {
        method: "POST".into(),
        path: "/auth/token".into(),
        headers: [("content-type".into(), "text/plain".into())].into(),
        ..Call::default()
    };
    assert_eq!(fixture.state.answer(&call, START).body["details"]["field"], "content-type");
    assert_eq!(fixture.call("POST", "/auth/token", None, &json!([1])).status, 400);
    assert_eq!(fixture.call("POST", "/auth/token/refresh", None, &json!({})).status, 400);
    assert_eq!(fixture.call("GET", "/else", None, &Value::Null).body["error"], "ERROR_NOT_FOUND");
}

#[test]
fn a_known_invoice_is_not_executed_twice() {
    let mut fixture = fixture(|_| {});
    let token = fixture.issue().access;
    let body = json!({"amount": 10, "currency": "EUR", "invoiceId": "a"});
    let first = fixture.call("POST", "/deals/payin", Some(&token), &body);
    assert_eq!(fixture.call("POST", "/deals/payin", Some(&token), &body), first);
    let other = json!({"amount": 10, "currency": "EUR", "invoiceId": "b"});
    assert_ne!(fixture.call("POST", "/deals/payin", Some(&token), &other), first);
    assert_eq!(fixture.call("POST", "/deals/payin", Some(&token), &json!({})).status, 400);
    assert_eq!((fixture.state.totals.payins, fixture.state.totals.duplicate_payins), (2, 1));
}

#[test]
fn the_business_routes_answer() {
    let mut fixture = fixture(|_| {});
    let token = fixture.issue().access;
    let mut get = |path: &str| fixture.call("GET", path, Some(&token), &Value::Null);
    assert_eq!(get("/wallet").body["assets"][0]["currency"]["code"], "USDT");
    assert_eq!(get("/deals/7").body["_id"], "7");
    assert_eq!(get("/deals/7/credentials").body["id"], "7");
    assert_eq!(get("/deals/canceled").body["status"]["name"], "canceled");
    assert_eq!(get("/deals/canceled/credentials").body["error"], "DEAL_CANCELED");
    assert_eq!(get("/fx/calculation").body["direction"], "F2C");
    assert_eq!(fixture.call("GET", "/fx/calculation", None, &Value::Null).status, 401);
}

#[test]
fn tokens_can_be_revoked() {
    let mut fixture = fixture(|_| {});
    let (first, second, third) = (fixture.issue(), fixture.issue(), fixture.issue());
    fixture.state.revoke(&Revoke::AccessToken(first.access.clone()));
    assert!(!fixture.lets_in(&first.access));
    fixture.refresh(&first.refresh);
    fixture.state.revoke(&Revoke::RefreshToken(second.refresh.clone()));
    assert!(!fixture.lets_in(&second.access));
    fixture.refused(&second.refresh, "revoked");
    fixture.state.revoke(&Revoke::All(true));
    assert!(!fixture.lets_in(&third.access));
}
