//! The configuration of a client: one value per setting, each checked when it is set.

mod table;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use crate::clock::Clock;
use crate::credentials::{self, Credentials, CredentialsSource};
use crate::error::Error;
use crate::secret::Secret;
use crate::status::Status;
use crate::store::{HostStore, Keyring, Location, StoreMode};
use crate::transport::{HttpOptions, HttpTransport, ProxyRoute, TlsOptions, TlsSettings, proxy_for};

pub use table::{Kind, SETTINGS, Setting};

/// The settings of a client. A failed `set` changes nothing.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) base_url: Option<Url>,
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) account_id: Option<String>,
    pub(crate) public_key: Option<Secret>,
    pub(crate) public_key_file: Option<PathBuf>,
    pub(crate) issue_timeout: Duration,
    pub(crate) refresh_timeout: Duration,
    pub(crate) tls: TlsOptions,
    pub(crate) http: HttpOptions,
    pub(crate) send_bearer_on_refresh: bool,
    pub(crate) max_response_bytes: usize,
    pub(crate) keep_warm: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) request_max_response_bytes: usize,
    pub(crate) access_token: Option<Secret>,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) access_token_expires_in: Option<Duration>,
    pub(crate) static_token: Option<Secret>,
    pub(crate) on_ambiguous: OnAmbiguous,
    pub(crate) store: Location,
    pub(crate) store_mode: StoreMode,
    pub(crate) host_store: Option<HostStore>,
    pub(crate) store_key: Option<Keyring>,
    pub(crate) store_key_file: Option<PathBuf>,
    pub(crate) store_accept_plain: bool,
    pub(crate) fail_without_store: bool,
    pub(crate) is_strict: bool,
}

/// What a session does if the answer to a Refresh was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnAmbiguous {
    /// Obtains a new pair with the credentials.
    #[default]
    Issue,
    /// Presents the refresh token once more.
    Replay,
    /// Waits until there are new credentials.
    Fail,
}

impl OnAmbiguous {
    /// The choice for a word of the setting. Any other word means `issue`.
    pub(crate) fn named(word: String) -> Self {
        match word.as_str() {
            "replay" => OnAmbiguous::Replay,
            "fail" => OnAmbiguous::Fail,
            _ => OnAmbiguous::Issue,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Config {
            base_url: None,
            credentials_file: None,
            account_id: None,
            public_key: None,
            public_key_file: None,
            issue_timeout: Duration::ZERO,
            refresh_timeout: Duration::ZERO,
            tls: TlsOptions::default(),
            http: HttpOptions::default(),
            send_bearer_on_refresh: true,
            max_response_bytes: 0,
            keep_warm: false,
            request_timeout: Duration::ZERO,
            request_max_response_bytes: 0,
            access_token: None,
            refresh_token: None,
            access_token_expires_in: None,
            static_token: None,
            on_ambiguous: OnAmbiguous::default(),
            store: Location::Memory,
            store_mode: StoreMode::default(),
            host_store: None,
            store_key: None,
            store_key_file: None,
            store_accept_plain: false,
            fail_without_store: false,
            is_strict: false,
        };
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            let fits = setting.apply(&mut config, setting.default).is_ok();
            debug_assert!(fits, "the default of {} does not fit", setting.name);
        }
        config
    }
}

impl Config {
    /// Sets one value, by the name of its setting.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let setting = Setting::find(name).ok_or_else(|| unknown(name))?;
        self.apply(setting, value, setting.name)
    }

    /// Sets every setting whose `PAYMENTSGATE_…` variable is set. All or none.
    pub fn set_from_env(
        &mut self,
        variable: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<(), Error> {
        let mut changed = self.clone();
        for setting in SETTINGS {
            let name = setting.variable();
            let Some(value) = variable(&name) else { continue };
            let value = value.into_string().map_err(|_| {
                let text = format!("the environment variable {name} is not UTF-8");
                Error::new(Status::PG_ERR_INVALID_UTF8, text)
            })?;
            changed.apply(setting, &value, &name)?;
        }
        *self = changed;
        Ok(())
    }

    fn apply(&mut self, setting: &Setting, value: &str, display_name: &str) -> Result<(), Error> {
        setting.apply(self, value).map_err(|invalid| {
            let display_value = setting.kind.display_value(value);
            Error::new(
                invalid.status,
                format!("{display_name} = {display_value}: it must be {}", invalid.expected),
            )
        })
    }

    /// The transport of these settings to the given URL. Reads the TLS files; makes no connection.
    pub fn transport(&self, base_url: Url, clock: Arc<dyn Clock>) -> Result<HttpTransport, Error> {
        let tls = Arc::new(TlsSettings::load(&self.tls)?);
        HttpTransport::new(&self.http, base_url, tls, clock)
    }

    /// The proxy of these settings to the given URL, and what chose it. Reads the environment.
    pub fn proxy_route(&self, base_url: &Url) -> Result<ProxyRoute, Error> {
        proxy_for(base_url, &self.http.proxy, |name| std::env::var_os(name))
    }

    /// The source of the credentials that the settings name, if any. Reads the files.
    pub(crate) fn credentials_source(&self) -> Result<Option<CredentialsSource>, Error> {
        let Some(file) = self.credentials_file.clone().or_else(|| self.public_key_file.clone()) else {
            return Ok(self.credentials()?.map(|found| CredentialsSource::Settings(Arc::new(found))));
        };
        let source = Config {
            credentials_file: self.credentials_file.clone(),
            account_id: self.account_id.clone(),
            public_key: self.public_key.clone(),
            public_key_file: self.public_key_file.clone(),
            ..Config::default()
        };
        CredentialsSource::of_file(file, move || source.credentials())
    }

    /// The credentials that the settings name, if any. Reads the files.
    pub fn credentials(&self) -> Result<Option<Credentials>, Error> {
        let conflict = |one: &str, other: &str| {
            let text = format!("{one} and {other} are both set; keep one of them");
            Err(Error::new(Status::PG_ERR_CONFLICTING_SETTINGS, text))
        };
        let missing = |set: &str, wanted: &str| {
            let text = format!("{set} is set, but not {wanted}; Issue needs both");
            Err(Error::new(Status::PG_ERR_MISSING_SETTING, text))
        };
        if let Some(path) = &self.credentials_file {
            if self.account_id.is_some() {
                return conflict("credentials_file", "account_id");
            }
            if self.public_key.is_some() || self.public_key_file.is_some() {
                return conflict("credentials_file", "public_key or public_key_file");
            }
            return Credentials::from_file(path).map(Some);
        }
        let public_key = match (&self.public_key, &self.public_key_file) {
            (Some(_), Some(_)) => return conflict("public_key", "public_key_file"),
            (Some(key), None) => Some(key.clone()),
            (None, Some(path)) => Some(credentials::public_key_from_pem_file(path)?),
            (None, None) => None,
        };
        match (&self.account_id, public_key) {
            (Some(account), Some(key)) => Credentials::new(account, key.expose(), "settings").map(Some),
            (Some(_), None) => missing("account_id", "public_key or public_key_file"),
            (None, Some(_)) if self.public_key_file.is_some() => missing("public_key_file", "account_id"),
            (None, Some(_)) => missing("public_key", "account_id"),
            (None, None) => Ok(None),
        }
    }
}

impl Config {
    /// The pair that the settings name, if any.
    pub(crate) fn pair(&self) -> Result<Option<(&Secret, &Secret)>, Error> {
        let missing = |set: &str, wanted: &str| {
            let text = format!("{set} is set, but not {wanted}; a pair is both");
            Err(Error::new(Status::PG_ERR_MISSING_SETTING, text))
        };
        match (&self.access_token, &self.refresh_token) {
            (Some(access), Some(refresh)) => Ok(Some((access, refresh))),
            (Some(_), None) => missing("access_token", "refresh_token"),
            (None, Some(_)) => missing("refresh_token", "access_token"),
            (None, None) if self.access_token_expires_in.is_some() => {
                missing("access_token_expires_in_s", "access_token")
            }
            (None, None) => Ok(None),
        }
    }
}

impl Config {
    /// The only token of a session, if the settings name one. With it no other source of tokens is allowed.
    pub(crate) fn static_token(&self) -> Result<Option<&Secret>, Error> {
        let Some(token) = &self.static_token else { return Ok(None) };
        let others = [
            ("credentials_file", self.credentials_file.is_some()),
            ("account_id", self.account_id.is_some()),
            ("public_key", self.public_key.is_some()),
            ("public_key_file", self.public_key_file.is_some()),
            ("access_token", self.access_token.is_some()),
            ("refresh_token", self.refresh_token.is_some()),
            ("access_token_expires_in_s", self.access_token_expires_in.is_some()),
            ("store", !self.store.is_memory()),
            ("a store of the program's own (pg_config_set_store)", self.host_store.is_some()),
            ("store_key", self.store_key.is_some()),
            ("store_key_file", self.store_key_file.is_some()),
        ];
        match others.iter().find(|(_, is_set)| *is_set) {
            None => Ok(Some(token)),
            Some((other, _)) => {
                let text = format!(
                    "static_token and {other} are both set; a static token is never replaced or stored, so leave one of \
                     them out"
                );
                Err(Error::new(Status::PG_ERR_CONFLICTING_SETTINGS, text))
            }
        }
    }

    /// Stores the pair of a session in a store of the host.
    pub fn set_store(&mut self, store: HostStore) {
        self.host_store = Some(store);
    }

    /// Where the pair of a session is stored.
    pub(crate) fn location(&self) -> Result<Location, Error> {
        let conflict = |text: &str| Err(Error::new(Status::PG_ERR_CONFLICTING_SETTINGS, text));
        let location = match &self.host_store {
            None => self.store.clone(),
            Some(store) if self.store.is_memory() => Location::Custom(store.clone()),
            Some(_) => {
                return conflict(
                    "store is set, and so is a store of the program's own (pg_config_set_store); keep one of them",
                );
            }
        };
        match (location, self.store_mode) {
            (Location::Folder(folder, _), mode) => Ok(Location::Folder(folder, mode)),
            (location, StoreMode::Private) => Ok(location),
            (_, StoreMode::Group) => conflict(
                "store_mode is group, but store is not a folder; set store to file:/folder, or leave store_mode out",
            ),
        }
    }

    /// The keys that seal the store, if the settings name any. Reads the file.
    pub(crate) fn keyring(&self) -> Result<Option<Keyring>, Error> {
        let conflict = |text: String| Error::new(Status::PG_ERR_CONFLICTING_SETTINGS, text);
        let (setting, keyring) = match (&self.store_key, &self.store_key_file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let text = "store_key and store_key_file are both set; keep one of them";
                return Err(conflict(text.into()));
            }
            (Some(keyring), None) => ("store_key", keyring.clone()),
            (None, Some(path)) => ("store_key_file", Keyring::from_file(path)?),
        };
        if self.location()?.is_memory() {
            let text = format!(
                "{setting} is set, but store is memory:, which seals nothing; set store to file:/folder, or leave \
                 {setting} out"
            );
            return Err(conflict(text));
        }
        Ok(Some(keyring.accepting_plain(self.store_accept_plain)))
    }
}

fn unknown(name: &str) -> Error {
    let names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    // A value in the place of the name may be secret.
    let is_name = name.len() <= 64 && name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'));
    let what =
        if is_name { format!("no setting is named {name:?}") } else { "this is no name of a setting".into() };
    Error::new(Status::PG_ERR_UNKNOWN_SETTING, format!("{what}; there are: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_come_from_the_table() {
        let config = Config::default();
        assert_eq!(config.refresh_timeout, Duration::from_secs(45));
        assert_eq!(config.max_response_bytes, 65536);
        assert!(config.http.user_agent.starts_with("paymentsgate-auth/"));
    }

    #[test]
    fn an_invalid_value_is_an_error_with_the_name_of_its_setting() {
        let mut config = Config::default();
        for (name, value, status) in [
            ("base_url", "", Status::PG_ERR_INVALID_SETTING),
            ("base_url", "ftp://host", Status::PG_ERR_INVALID_SETTING),
            ("base_url", "https://", Status::PG_ERR_INVALID_SETTING),
            ("base_url", "https://host/?a=1", Status::PG_ERR_INVALID_SETTING),
            ("base_url", "https://user:word@host", Status::PG_ERR_INVALID_SETTING),
            ("base_url", "http://example.com", Status::PG_ERR_INSECURE_URL),
            ("base_url", "http://127.0.0.1.example.com", Status::PG_ERR_INSECURE_URL),
            ("refresh_timeout_ms", "0", Status::PG_ERR_INVALID_SETTING),
            ("refresh_timeout_ms", "600001", Status::PG_ERR_INVALID_SETTING),
            ("refresh_timeout_ms", "5s", Status::PG_ERR_INVALID_SETTING),
            ("max_response_bytes", "1023", Status::PG_ERR_INVALID_SETTING),
            ("tls.system_roots", "yes", Status::PG_ERR_INVALID_SETTING),
            ("proxy", "socks5://host", Status::PG_ERR_INVALID_SETTING),
            ("user_agent", "a\nb", Status::PG_ERR_INVALID_SETTING),
            ("refresh_timeout", "1", Status::PG_ERR_UNKNOWN_SETTING),
        ] {
            let error = config.set(name, value).unwrap_err();
            assert_eq!(error.status, status, "{name}={value}: {}", error.text);
            assert!(error.text.contains(name), "{}", error.text);
        }
        assert!(config.base_url.is_none());
    }

    #[test]
    fn plain_http_is_allowed_to_loopback() {
        let mut config = Config::default();
        for url in ["http://127.0.0.1:80", "http://localhost:1/", "http://[::1]:9/gate", "https://host/gate"]
        {
            config.set("base_url", url).unwrap();
        }
        assert_eq!(config.base_url.unwrap().as_str(), "https://host/gate/");
    }

    #[test]
    fn no_secret_is_shown() {
        let mut config = Config::default();
        let error = config.set("public_key", "hunter2\nhunter2").unwrap_err();
        assert!(error.text.contains("base64 -w0"), "{}", error.text);
        assert!(!error.text.contains("hunter2"), "{}", error.text);
        let error = config.set("proxy", "ftp://user:hunter2@host").unwrap_err();
        assert!(!error.text.contains("hunter2"), "{}", error.text);
        let error = config.set("base_url", "https://user:hunter2@host").unwrap_err();
        assert!(!error.text.contains("hunter2"), "{}", error.text);
        config.set("public_key", "hunter2").unwrap();
        config.set("proxy", "http://user:hunter2@host").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    /// A token in the place of another value is not shown; an address that lacks something is.
    #[test]
    fn a_value_of_another_setting_is_not_shown() {
        let text = |name, value: &str| Config::default().set(name, value).unwrap_err().text;
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0";
        for name in
            ["base_url", "proxy", "store", "request_timeout_ms", "on_ambiguous", "send_bearer_on_refresh"]
        {
            assert!(!text(name, token).contains(&token[..16]), "{}", text(name, token));
        }
        for (name, value) in [("proxy", "proxy.example.com:8080"), ("base_url", "http://pay.example.com")] {
            assert!(text(name, value).contains(value), "{}", text(name, value));
        }
    }

    #[test]
    fn one_final_line_break_is_removed_from_a_value() {
        let mut config = Config::default();
        for (name, value) in [
            ("account_id", "a-1\n"),
            ("public_key", "c2VjcmV0\r\n"),
            ("base_url", "https://host\n"),
            ("tls.system_roots", "false\n"),
        ] {
            config.set(name, value).unwrap();
        }
        assert_eq!(config.account_id.as_deref(), Some("a-1"));
        assert_eq!(config.public_key.as_ref().map(Secret::expose), Some("c2VjcmV0"));
        for wrong in ["a-1\n\n", "a\n1", "\n"] {
            assert!(config.set("account_id", wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_environment_is_applied_completely_or_not_at_all() {
        let mut config = Config::default();
        let error = config
            .set_from_env(|name| match name {
                "PAYMENTSGATE_BASE_URL" => Some("https://host".into()),
                "PAYMENTSGATE_TLS_SYSTEM_ROOTS" => Some("maybe".into()),
                _ => None,
            })
            .unwrap_err();
        assert!(error.text.contains("PAYMENTSGATE_TLS_SYSTEM_ROOTS"), "{}", error.text);
        assert!(config.base_url.is_none());
        config.set_from_env(|name| (name == "PAYMENTSGATE_BASE_URL").then(|| "https://host".into())).unwrap();
        assert!(config.base_url.is_some());
    }

    #[test]
    fn a_static_token_excludes_every_other_source_of_tokens() {
        let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        for (name, value) in [
            ("credentials_file", "/nowhere"),
            ("account_id", "a-1"),
            ("public_key", "c2VjcmV0"),
            ("public_key_file", "/nowhere"),
            ("access_token", "hunter2"),
            ("refresh_token", "hunter2"),
            ("access_token_expires_in_s", "60"),
            ("store", "file:/nowhere"),
            ("store_key", key),
            ("store_key_file", "/nowhere"),
        ] {
            let mut config = Config::default();
            config.set("static_token", "hunter2").unwrap();
            assert_eq!(config.static_token().unwrap().map(Secret::expose), Some("hunter2"));
            config.set(name, value).unwrap();
            let error = config.static_token().unwrap_err();
            assert_eq!(error.status, Status::PG_ERR_CONFLICTING_SETTINGS, "{name}");
            assert!(
                error.text.contains("static_token") && error.text.contains(&format!(" {name} ")),
                "{}",
                error.text
            );
            assert!(!error.text.contains("hunter2"), "{}", error.text);
        }
    }

    #[test]
    fn credentials_settings_exclude_each_other() {
        let mut config = Config::default();
        assert!(config.credentials().unwrap().is_none());
        config.set("account_id", "a-1").unwrap();
        assert_eq!(config.credentials().unwrap_err().status, Status::PG_ERR_MISSING_SETTING);
        config.set("credentials_file", "/nowhere").unwrap();
        assert_eq!(config.credentials().unwrap_err().status, Status::PG_ERR_CONFLICTING_SETTINGS);
    }
}
