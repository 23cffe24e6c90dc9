//! The admin port, used by raw HTTP as from another language.

use pg_sandbox::{Action, Counters, Credentials, Entry, Fault, Point, Route, fingerprint};
use reqwest::blocking::Client;
use serde_json::{Value, json};

use crate::fixture::{Fixture, builder};

struct Admin<'a> {
    fixture: &'a Fixture,
    client: Client,
}

impl<'a> Admin<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        Self { fixture, client: builder(&fixture.sandbox).build().unwrap() }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}{path}", self.fixture.sandbox.urls().admin);
        let response =
            self.client.request(method.parse().unwrap(), url).body(body.to_string()).send().unwrap();
        (response.status().as_u16(), response.json().unwrap())
    }

    fn get(&self, path: &str) -> Value {
        self.call("GET", path, &Value::Null).1
    }
}

#[test]
fn switches_are_read_and_set() {
    let fixture = Fixture::new();
    let admin = Admin::new(&fixture);
    assert_eq!(admin.get("/switches")["rotation"], "single-use");
    let (status, switches) = admin.call("PATCH", "/switches", &json!({"rotation": {"window": 5}}));
    assert_eq!((status, &switches["rotation"]), (200, &json!({"window": 5})));
    let (status, error) = admin.call("PATCH", "/switches", &json!({"rotatoin": "static"}));
    assert!(status == 400 && error["error"].as_str().unwrap().contains("rotatoin"), "{error}");
}

#[test]
fn faults_are_listed_added_and_dropped() {
    let fixture = Fixture::new();
    let admin = Admin::new(&fixture);
    let fault = json!({"route": "issue", "action": {"kind": "status", "status": 500}, "times": 2});
    let (status, added) = admin.call("POST", "/faults", &fault);
    assert_eq!((status, &added["point"]), (200, &json!("before")));
    assert_eq!(fixture.try_issue().unwrap().status(), 500);
    assert_eq!(admin.get("/faults")[0]["times"], 1);
    assert_eq!(admin.call("DELETE", "/faults", &Value::Null), (200, json!({})));
    assert_eq!(admin.get("/faults"), json!([]));
    let (status, error) = admin.call("POST", "/faults", &json!({"action": {"kind": "explode"}}));
    assert!(status == 400 && error["error"].as_str().unwrap().contains("explode"), "{error}");
}

#[test]
fn the_admin_port_shows_the_counters_of_the_process() {
    let fixture = Fixture::new();
    let admin = Admin::new(&fixture);
    fixture.issue();
    let counters: Counters = serde_json::from_value(admin.get("/counters")).unwrap();
    assert_eq!(counters, fixture.sandbox.counters());
    assert_eq!(admin.get("/counters")["routes"]["issue"]["outcomes"]["200"], 1);
}

#[test]
fn the_journal_shows_the_caller_and_the_result_of_each_call() {
    let fixture = Fixture::new();
    let admin = Admin::new(&fixture);
    let pair = fixture.issue();
    fixture.inject(Fault::new(Route::Refresh, Action::Reset).at(Point::After));
    fixture.try_refresh(&pair.refresh).unwrap_err();
    fixture.try_refresh(&pair.refresh).unwrap();
    fixture.get("/wallet", &pair.access);
    let journal: Vec<Entry> = serde_json::from_value(admin.get("/journal")).unwrap();
    assert_eq!(journal, fixture.sandbox.journal());
    let [issued, lost, refused] = &journal[..] else { panic!("{journal:?}") };
    assert_eq!((issued.route, issued.presented.as_deref(), &*issued.outcome), (Route::Issue, None, "200"));
    assert_eq!(issued.made, Some(fingerprint(&pair.access)));
    assert_eq!((lost.route, &*lost.outcome, lost.made.is_some()), (Route::Refresh, "reset", true));
    assert_eq!((&*refused.outcome, refused.made.is_some()), ("401", false));
    for refresh in [lost, refused] {
        assert_eq!(refresh.presented, Some(fingerprint(&pair.refresh)));
    }
}

#[test]
fn the_admin_port_moves_the_clock_and_revokes_tokens() {
    let fixture = Fixture::new();
    let admin = Admin::new(&fixture);
    let pair = fixture.issue();
    let works = || fixture.get("/wallet", &pair.access).status() == 200;
    assert!(works());
    let (_, clock) = admin.call("POST", "/clock", &json!({"advance_s": 3600}));
    assert!(clock["now_ms"].is_u64() && !works());

    let pair = fixture.refresh(&pair.refresh);
    let works = || fixture.get("/wallet", &pair.access).status() == 200;
    assert!(works());
    admin.call("POST", "/revoke", &json!({"access_token": pair.access}));
    assert!(!works());
    admin.call("POST", "/revoke", &json!({"refresh_token": pair.refresh}));
    assert_eq!(fixture.try_refresh(&pair.refresh).unwrap().status(), 401);
    let pair = fixture.issue();
    admin.call("POST", "/revoke", &json!({"all": true}));
    assert_eq!(fixture.get("/wallet", &pair.access).status(), 401);
    assert_eq!(admin.call("POST", "/revoke", &json!({"some": true})).0, 400);

    admin.call("POST", "/reset", &Value::Null);
    assert_eq!(admin.get("/counters")["pairs_issued"], 0);
    assert_eq!(admin.get("/foreign"), json!([]));
}

#[test]
fn another_account_has_its_own_credentials() {
    let fixture = Fixture::new();
    let admin = Admin::new(&fixture);
    let (_, account) = admin.call("POST", "/accounts", &Value::Null);
    let account: Credentials = serde_json::from_value(account).unwrap();
    let issue = |public_key: &str| {
        let body = json!({"account_id": account.account_id, "public_key": public_key});
        let url = format!("{}/auth/token", fixture.sandbox.urls().http);
        admin.client.post(url).json(&body).send().unwrap().status()
    };
    assert_eq!(issue(&account.public_key), 200);
    assert_eq!(issue(&fixture.sandbox.credentials().public_key), 401);
}

#[test]
fn an_account_gets_a_new_key_and_keeps_its_tokens() {
    let fixture = Fixture::new();
    let admin = Admin::new(&fixture);
    let (old, pair) = (fixture.sandbox.credentials(), fixture.issue());
    let (status, new) = admin.call("POST", "/accounts/key", &json!({"account_id": old.account_id}));
    let new: Credentials = serde_json::from_value(new).unwrap();
    assert_eq!((status, &new.account_id, &new.project_id), (200, &old.account_id, &old.project_id));
    assert!(new.public_key != old.public_key && new.private_key != old.private_key);
    let issue = |public_key: &str| {
        let body = json!({"account_id": old.account_id, "public_key": public_key});
        let url = format!("{}/auth/token", fixture.sandbox.urls().http);
        admin.client.post(url).json(&body).send().unwrap().status()
    };
    assert_eq!((issue(&old.public_key).as_u16(), issue(&new.public_key).as_u16()), (401, 200));
    assert_eq!(fixture.get("/wallet", &pair.access).status(), 200);
    let outcomes: Vec<_> = fixture.sandbox.journal().into_iter().map(|entry| entry.outcome).collect();
    assert_eq!(outcomes, ["200", "401", "200"]);

    let (status, error) = admin.call("POST", "/accounts/key", &json!({"account_id": "nobody"}));
    assert!(status == 400 && error["error"].as_str().unwrap().contains("nobody"), "{error}");
    admin.call("POST", "/reset", &Value::Null);
    assert_eq!((issue(&old.public_key).as_u16(), issue(&new.public_key).as_u16()), (200, 401));
}
