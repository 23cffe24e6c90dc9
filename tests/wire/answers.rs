//! Unusual answers that are still good.

use std::sync::Arc;

use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::expiry::Remark;
use pg_sandbox::{ExpiresInForm, Options, Route, Sandbox};

use crate::PATIENCE;

fn plain_client(sandbox: &Sandbox) -> Arc<Client> {
    let mut config = Config::default();
    config.set("base_url", &sandbox.urls().http).unwrap();
    config.set("credentials_file", sandbox.address().credentials_file.to_str().unwrap()).unwrap();
    Client::new(&config).unwrap()
}

#[test]
fn a_content_encoding_label_or_byte_order_mark_does_not_spoil_a_good_answer() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let client = plain_client(&sandbox);
    for encoding in ["identity", "Identity", "none", "", "utf-8"] {
        sandbox.switches(|switches| {
            (switches.content_encoding, switches.byte_order_mark) = (Some(encoding.to_owned()), true);
        });
        let pair = client.issue(None, PATIENCE).unwrap();
        client.refresh(None, pair.refresh.unwrap(), PATIENCE).unwrap();
    }
    let sent = sandbox.counters().routes[&Route::Issue].last.clone().unwrap().headers;
    assert_eq!(sent["accept-encoding"], "identity");
}

#[test]
fn each_form_of_expires_in_gives_a_pair_and_a_wrong_one_also_a_remark() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    sandbox.switches(|switches| switches.opaque_access_token = true);
    let client = plain_client(&sandbox);
    for (form, seconds, remark) in [
        (ExpiresInForm::Float, 3600, None),
        (ExpiresInForm::FloatString, 3600, None),
        (ExpiresInForm::Negative, 300, Some(Remark::BelowASecond)),
        (ExpiresInForm::Text, 300, Some(Remark::NotANumber)),
    ] {
        sandbox.switches(|switches| switches.expires_in_form = form);
        let lifetime = client.issue(None, PATIENCE).unwrap().token.lifetime;
        assert_eq!((lifetime.length.as_secs(), lifetime.remark), (seconds, remark), "{form:?}");
    }
    sandbox.switches(|switches| {
        (switches.expires_in_form, switches.access_lifetime_s) = (ExpiresInForm::Number, 30 * 86_400);
    });
    let lifetime = client.issue(None, PATIENCE).unwrap().token.lifetime;
    assert_eq!((lifetime.length.as_secs(), lifetime.remark), (86_400, Some(Remark::AboveADay)));
}
