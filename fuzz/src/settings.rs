//! The table of settings, URLs, paths and headers: a value is taken or refused as a whole, and no secret is shown.

use std::ffi::OsString;
use std::net::IpAddr;

use paymentsgate_auth::config::{Config, Kind, SETTINGS, Setting};
use paymentsgate_auth::error::Error;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::status::Status;
use reqwest::Url;

use super::input::Input;
use super::scripted::check_error;

/// The values of secret settings hold this text.
const SENTINEL: &str = "s3ntinel";

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 4 {
        0 => request(&mut input),
        1 => base_url(&input.text()),
        2 => proxy(&mut input),
        _ => settings(&mut input),
    }
}

fn settings(input: &mut Input<'_>) {
    let mut config = Config::default();
    for _ in 0..8 {
        if input.is_empty() {
            return;
        }
        let index = usize::from(input.byte());
        let value = input.text();
        match SETTINGS.get(index % (SETTINGS.len() + 1)) {
            Some(setting) => set(&mut config, setting, &value),
            None => {
                let error = config.set(&value, "x").err();
                let known = Setting::find(&value).is_some();
                assert!(known || error.is_some_and(|error| error.status == Status::PG_ERR_UNKNOWN_SETTING));
            }
        }
    }
    // Reads no file: the pieces of the settings must not contradict each other in a way that ends in a panic.
    let url = "https://pay.example/".parse().unwrap();
    let _ = config.proxy_route(&url);
}

fn set(config: &mut Config, setting: &Setting, value: &str) {
    let is_secret = matches!(setting.kind, Kind::Secret | Kind::AccessToken | Kind::PublicKey | Kind::Keys);
    let value = if is_secret { format!("{SENTINEL}{value}") } else { value.to_owned() };
    let before = format!("{config:?}");
    let result = config.set(setting.name, &value);
    let after = format!("{config:?}");
    match &result {
        Ok(()) => assert!(config.set(setting.name, &value).is_ok() && format!("{config:?}") == after),
        Err(error) => {
            assert_eq!(before, after, "{}: a refused value changes nothing", setting.name);
            check(error, setting, &value);
        }
    }
    assert!(!after.contains(SENTINEL), "{after}");
    // The environment sets the same.
    let mut other = Config::default();
    let name = setting.variable();
    let by_name = other.set_from_env(|asked| (asked == name).then(|| OsString::from(&value)));
    assert_eq!(by_name.map_err(|error| error.status), result.map_err(|error| error.status));
}

fn check(error: &Error, setting: &Setting, value: &str) {
    check_error(error, &[SENTINEL]);
    assert!(error.text.contains(setting.name), "{error}");
    assert!(matches!(error.status, Status::PG_ERR_INVALID_SETTING | Status::PG_ERR_INSECURE_URL), "{error}");
    let may_hold_password = matches!(setting.kind, Kind::Url | Kind::Proxy | Kind::Store);
    if let Some((login, _)) =
        value.rsplit_once('@').filter(|(login, _)| may_hold_password && login.len() > 12)
    {
        assert!(!error.text.contains(login), "{error}");
    }
}

/// A base URL is https, or plain to this machine, and its form is final.
fn base_url(text: &str) {
    let text = if text.contains(':') { text.to_owned() } else { format!("https://{text}") };
    let mut config = Config::default();
    if config.set("base_url", &text).is_err() {
        return;
    }
    let client = paymentsgate_auth::Client::new(&config).unwrap();
    let url = client.base_url().unwrap();
    assert!(url.path().ends_with('/') && url.query().is_none() && url.fragment().is_none(), "{url}");
    assert!(url.username().is_empty() && url.password().is_none(), "{url}");
    let host = url.host_str().unwrap();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    assert!(url.scheme() == "https" || (url.scheme() == "http" && is_local), "{url}");
    let again = format!("{config:?}");
    config.set("base_url", url.as_str()).unwrap();
    assert_eq!(format!("{config:?}"), again);
}

/// A proxy is chosen for the base URL alone, never for plain http, and its password is not shown.
fn proxy(input: &mut Input<'_>) {
    let (host, value) = (input.text(), input.text());
    let mut config = Config::default();
    let value = if value.is_empty() { value } else { value.replace('#', SENTINEL) };
    if config.set("proxy", &value).is_err() {
        return;
    }
    for scheme in ["https", "http"] {
        let Ok(url) = Url::parse(&format!("{scheme}://{host}/")) else { continue };
        let Ok(route) = config.proxy_route(&url) else { continue };
        assert!(scheme == "https" || route.proxy.is_none());
        let name = route.authorization();
        let login =
            route.proxy.as_ref().map(|proxy| (proxy.username(), proxy.password().unwrap_or_default()));
        assert_eq!(
            name.is_some(),
            login.is_some_and(|(user, password)| !user.is_empty() || !password.is_empty())
        );
        if let Some(name) = name {
            assert!(name.strip_prefix("Basic ").is_some_and(|rest| rest.is_ascii()), "it is a header");
        }
    }
}

/// A path stays below the base URL however a server decodes it; headers and methods cannot end a line.
fn request(input: &mut Input<'_>) {
    let (method, path) = (input.choice(&["GET", "POST", "DELETE", "get", "TRACE", "G T"]), input.text());
    let (name, value) = (input.text(), input.text());
    let headers = [(&*name, &*value)];
    let headers = if name.is_empty() { &[][..] } else { &headers[..] };
    match ApiRequest::new(method, &path, headers, None) {
        Ok(request) => {
            assert!(["GET", "POST", "DELETE"].contains(&method));
            check_path(&path);
            assert!(!value.contains(['\r', '\n', '\0']) || name.is_empty());
            assert!(!format!("{request:?}").contains(&value) || value.len() < 12, "a header may be a secret");
        }
        Err(error) => {
            check_error(&error, &[]);
            assert_eq!(error.status, Status::PG_ERR_INVALID_ARGUMENT);
            assert!(value.len() < 24 || name.contains(&value) || !error.text.contains(&value), "{error}");
        }
    }
}

fn check_path(path: &str) {
    assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    let base = Url::parse("https://pay.example/gate/").unwrap();
    let mut url = base.clone();
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(&format!("{}{}", base.path(), &path[1..]));
    url.set_query(query);
    assert!(
        url.path().starts_with("/gate/") && url.origin() == base.origin() && url.fragment().is_none(),
        "{url}"
    );
    // A server may decode once, and then leave the path by dots.
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(url.path()).collect();
    let decoded = String::from_utf8_lossy(&decoded).replace('\\', "/");
    for segment in decoded.split('/') {
        let segment = segment.split([';', '\0']).next().unwrap();
        assert!(segment != ".." && segment != ".", "{path}");
    }
}
