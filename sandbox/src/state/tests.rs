use serde_json::json;

use super::*;
use crate::switches::{DetailsKey, RetryAfter};

const START: u64 = 1_700_000_000_000;
const SECOND: u64 = 1000;

/// A service, its account, and a time that only the test moves.
struct Bench {
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

fn bench(change: impl FnOnce(&mut Switches)) -> Bench {
    let mut switches = Switches::default();
    change(&mut switches);
    let credentials = Credentials::new().unwrap();
    Bench { state: State::new(switches, &credentials), credentials, now: START }
}

impl Bench {
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
    let mut bench = bench(|_| {});
    let first = bench.issue();
    let second = bench.refresh(&first.refresh);
    assert_ne!(first.access, second.access);
    assert_ne!(first.refresh, second.refresh);
    assert!(bench.lets_in(&first.access) && bench.lets_in(&second.access));
    assert!(!bench.lets_in("else"));
    assert_eq!((bench.state.tally.issued, bench.state.tally.refreshed), (1, 1));
}

#[test]
fn wrong_credentials_are_not_found() {
    let mut bench = bench(|_| {});
    bench.credentials.public_key.push('=');
    let answer = bench.try_issue();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.body["error"], "ERROR_CREDENTIALS_NOT_FOUND");
    assert_eq!(answer.body["statusCode"], 401);
}

#[test]
fn single_use_tokens_work_once() {
    let mut bench = bench(|_| {});
    let first = bench.issue();
    let second = bench.refresh(&first.refresh);
    bench.refused(&first.refresh, "reused");
    bench.refresh(&second.refresh);
    bench.refused("else", "unknown");
}

#[test]
fn a_static_refresh_token_stays_the_same_in_every_answer() {
    let mut bench = bench(|s| s.rotation = Rotation::Static);
    let first = bench.issue();
    let second = bench.refresh(&first.refresh);
    assert_eq!(first.refresh, second.refresh);
    assert_ne!(first.access, bench.refresh(&first.refresh).access);
}

#[test]
fn a_window_allows_reuse_for_some_seconds() {
    let mut bench = bench(|s| s.rotation = Rotation::Window(30));
    let first = bench.issue();
    let second = bench.refresh(&first.refresh);
    bench.pass(29);
    let third = bench.refresh(&first.refresh);
    assert_ne!(second.refresh, third.refresh);
    bench.pass(1);
    bench.refused(&first.refresh, "reused");
    bench.refresh(&second.refresh);
}

#[test]
fn reuse_can_revoke_its_family_and_no_other() {
    let mut bench = bench(|s| s.reuse_revokes_family = true);
    let first = bench.issue();
    let other = bench.issue();
    let second = bench.refresh(&first.refresh);
    bench.refused(&first.refresh, "reused");
    bench.refused(&second.refresh, "revoked");
    assert!(!bench.lets_in(&second.access));
    assert!(bench.lets_in(&other.access));
}

#[test]
fn a_refresh_can_end_the_old_access_token() {
    let mut bench = bench(|s| s.old_access_dies_on_refresh = true);
    let first = bench.issue();
    let second = bench.refresh(&first.refresh);
    assert!(!bench.lets_in(&first.access) && bench.lets_in(&second.access));
}

#[test]
fn a_second_issue_can_end_the_first_pair() {
    let mut bench = bench(|s| s.second_issue_kills_first = true);
    let first = bench.issue();
    let second = bench.issue();
    assert!(!bench.lets_in(&first.access) && bench.lets_in(&second.access));
    bench.refused(&first.refresh, "revoked");
}

#[test]
fn a_refresh_can_require_a_bearer() {
    let mut bench = bench(|s| s.bearer_on_refresh = BearerOnRefresh::Required);
    let first = bench.issue();
    let stranger = bench.issue();
    assert_eq!(bench.try_refresh(None, &first.refresh).status, 401);
    assert_eq!(bench.try_refresh(Some(&stranger.access), &first.refresh).status, 401);
    bench.pass(3600);
    Pair::of(&bench.try_refresh(Some(&first.access), &first.refresh));
}

#[test]
fn a_refresh_can_require_a_valid_bearer() {
    let mut bench = bench(|s| s.bearer_on_refresh = BearerOnRefresh::Unexpired);
    let first = bench.issue();
    bench.pass(3599);
    let second = Pair::of(&bench.try_refresh(Some(&first.access), &first.refresh));
    bench.pass(3600);
    let answer = bench.try_refresh(Some(&second.access), &second.refresh);
    assert_eq!(answer.body["details"]["reason"], "bearer");
}

#[test]
fn both_lifetimes_are_enforced() {
    let mut bench = bench(|s| (s.access_lifetime_s, s.refresh_lifetime_s) = (60, 100));
    let first = bench.issue();
    bench.pass(59);
    assert!(bench.lets_in(&first.access));
    bench.pass(1);
    assert!(!bench.lets_in(&first.access));
    bench.pass(40);
    bench.refused(&first.refresh, "expired");
}

#[test]
fn the_rate_limit_uses_a_sliding_window() {
    let limit = RateLimit { requests: 2, per_s: 10, retry_after: Some(RetryAfter::Seconds(7)) };
    let mut bench = bench(|s| s.rate_limit = Some(limit));
    let first = bench.issue();
    bench.pass(5);
    bench.refresh(&first.refresh);
    let answer = bench.try_issue();
    assert_eq!((answer.status, answer.headers), (429, vec![("retry-after", "7".into())]));
    assert!(bench.lets_in(&first.access), "business calls are not limited");
    bench.pass(5);
    bench.issue();
    assert_eq!(bench.try_issue().status, 429);
}

#[test]
fn retry_after_has_two_forms_or_none() {
    let limit = |retry_after| Some(RateLimit { requests: 0, per_s: 1, retry_after });
    let mut bench = bench(|s| s.rate_limit = limit(Some(RetryAfter::Date { date: 20 })));
    assert_eq!(bench.try_issue().headers, [("retry-after", "Tue, 14 Nov 2023 22:13:40 GMT".into())]);
    bench.state.switches.rate_limit = limit(None);
    assert_eq!(bench.try_issue().headers, []);
}

#[test]
fn expires_in_has_three_forms() {
    let mut bench = bench(|s| s.access_lifetime_s = 60);
    assert_eq!(bench.try_issue().body["expires_in"], json!(60));
    bench.state.switches.expires_in_form = ExpiresInForm::String;
    assert_eq!(bench.try_issue().body["expires_in"], json!("60"));
    bench.state.switches.expires_in_form = ExpiresInForm::Absent;
    assert_eq!(bench.try_issue().body.get("expires_in"), None);
}

#[test]
fn the_refresh_token_can_be_left_out() {
    let mut bench = bench(|s| {
        s.refresh_returns_refresh_token = false;
        s.rotation = Rotation::Static;
    });
    let first = bench.issue();
    assert_eq!(bench.try_refresh(None, &first.refresh).body.get("refresh_token"), None);
    bench.refresh(&first.refresh);
    bench.state.switches.issue_returns_refresh_token = false;
    assert_eq!(bench.try_issue().body.get("refresh_token"), None);
}

#[test]
fn the_status_of_a_refusal_and_the_name_of_its_details_can_be_chosen() {
    let mut bench = bench(|s| (s.refused_status, s.details_key) = (400, DetailsKey::Data));
    let answer = bench.try_refresh(None, "else");
    assert_eq!((answer.status, &answer.body["statusCode"]), (400, &json!(400)));
    assert_eq!(answer.body["data"]["reason"], "unknown");
    assert_eq!(answer.body.get("details"), None);
}

#[test]
fn a_body_that_is_not_json_is_a_bad_request() {
    let mut bench = bench(|_| {});
    let call = Call {
        method: "POST".into(),
        path: "/auth/token".into(),
        headers: [("content-type".into(), "text/plain".into())].into(),
        ..Call::default()
    };
    assert_eq!(bench.state.answer(&call, START).body["details"]["field"], "content-type");
    assert_eq!(bench.call("POST", "/auth/token", None, &json!([1])).status, 400);
    assert_eq!(bench.call("POST", "/auth/token/refresh", None, &json!({})).status, 400);
    assert_eq!(bench.call("GET", "/else", None, &Value::Null).body["error"], "ERROR_NOT_FOUND");
}

#[test]
fn a_known_invoice_is_not_executed_twice() {
    let mut bench = bench(|_| {});
    let token = bench.issue().access;
    let body = json!({"amount": 10, "currency": "EUR", "invoiceId": "a"});
    let first = bench.call("POST", "/deals/payin", Some(&token), &body);
    assert_eq!(bench.call("POST", "/deals/payin", Some(&token), &body), first);
    let other = json!({"amount": 10, "currency": "EUR", "invoiceId": "b"});
    assert_ne!(bench.call("POST", "/deals/payin", Some(&token), &other), first);
    assert_eq!(bench.call("POST", "/deals/payin", Some(&token), &json!({})).status, 400);
    assert_eq!((bench.state.tally.payins, bench.state.tally.duplicate_payins), (2, 1));
}

#[test]
fn the_business_routes_answer() {
    let mut bench = bench(|_| {});
    let token = bench.issue().access;
    let mut get = |path: &str| bench.call("GET", path, Some(&token), &Value::Null);
    assert_eq!(get("/wallet").body["assets"][0]["currency"]["code"], "USDT");
    assert_eq!(get("/deals/7").body["_id"], "7");
    assert_eq!(get("/deals/7/credentials").body["id"], "7");
    assert_eq!(get("/deals/canceled").body["status"]["name"], "canceled");
    assert_eq!(get("/deals/canceled/credentials").body["error"], "DEAL_CANCELED");
    assert_eq!(get("/fx/calculation").body["direction"], "F2C");
    assert_eq!(bench.call("GET", "/fx/calculation", None, &Value::Null).status, 401);
}

#[test]
fn tokens_can_be_revoked() {
    let mut bench = bench(|_| {});
    let (first, second, third) = (bench.issue(), bench.issue(), bench.issue());
    bench.state.revoke(&Revoke::AccessToken(first.access.clone()));
    assert!(!bench.lets_in(&first.access));
    bench.refresh(&first.refresh);
    bench.state.revoke(&Revoke::RefreshToken(second.refresh.clone()));
    assert!(!bench.lets_in(&second.access));
    bench.refused(&second.refresh, "revoked");
    bench.state.revoke(&Revoke::All(true));
    assert!(!bench.lets_in(&third.access));
}
