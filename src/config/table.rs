//! The table of settings: the one source for validation, defaults, the C table, the docs and the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use super::{Config, OnAmbiguous};
use crate::redaction::path_text;
use crate::secret::Secret;
use crate::status::Status;
use crate::store::{Keyring, Location, StoreMode};
use crate::token::is_access_token;
use crate::transport::ProxyChoice;

/// One row of the table.
pub struct Setting {
    /// The name, as given to `pg_config_set`.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// The value if it is not set; empty: none.
    pub default: &'static str,
    /// What it does, in a sentence or two.
    pub description: &'static str,
    apply: fn(&mut Config, Value),
}

/// The type of a setting, with its valid values.
pub enum Kind {
    /// Any text that is not empty.
    Text,
    /// Text that is valid in an HTTP header.
    Header,
    /// Text that is never shown, not even in an error.
    Secret,
    /// An access token, which is never shown.
    AccessToken,
    /// The base64 of a PEM, which is never shown.
    PublicKey,
    /// The path of a file, which is read when the client is made. Files with credentials and TLS files are read again
    /// when they change.
    Path,
    /// An https URL, or http to this machine.
    Url,
    /// `none`, `env`, or the URL of a proxy.
    Proxy,
    /// `memory:`, `file:` with the path of a folder, or the URL of a Redis server.
    Store,
    /// One or two keys of 32 bytes in base64, which are never shown.
    Keys,
    /// `true` or `false`.
    Boolean,
    /// Whole milliseconds, from 1 to the number.
    Milliseconds(u64),
    /// Whole seconds, from the first number to the second.
    Seconds(u64, u64),
    /// Whole bytes, from the first number to the second.
    Bytes(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
}

enum Value {
    Text(String),
    Secret(Secret),
    Path(PathBuf),
    Url(Url),
    Proxy(ProxyChoice),
    Store(Location),
    Keys(Keyring),
    Boolean(bool),
    Number(u64),
}

/// An invalid value: the status, and a description of the valid values.
pub(crate) struct InvalidValue {
    pub(crate) status: Status,
    pub(crate) expected: String,
}

const TEN_MINUTES: u64 = 600_000;

/// Stores a value of the expected variant; the kind of the row has already decided which variant it is.
macro_rules! store {
    ($variant:ident, $config:ident $(. $field:ident)+ = $make:expr) => {
        |$config, value| {
            if let Value::$variant(value) = value {
                $config$(.$field)+ = $make(value);
            }
        }
    };
}

/// The settings, in reading order.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "base_url",
        kind: Kind::Url,
        default: "",
        description: "Where the service is, for example https://secure.sandbox.paymentsgate.io. Required: the production \
                      host is given to each merchant.",
        apply: store!(Url, config.base_url = Some),
    },
    Setting {
        name: "credentials_file",
        kind: Kind::Path,
        default: "",
        description: "The credentials.json of the vendor: account_id and public_key are read from it. Set it instead of \
                      account_id and public_key. The file is read again when it has changed: before an Issue, and while \
                      the credentials are refused.",
        apply: store!(Path, config.credentials_file = Some),
    },
    Setting {
        name: "account_id",
        kind: Kind::Text,
        default: "",
        description: "The service account, a UUID. Set it together with public_key or public_key_file.",
        apply: store!(Text, config.account_id = Some),
    },
    Setting {
        name: "public_key",
        kind: Kind::PublicKey,
        default: "",
        description: "The account's public key in the vendor's form: a PEM, base64-encoded once more, in one line \
                      (`base64 -w0`).",
        apply: store!(Secret, config.public_key = Some),
    },
    Setting {
        name: "public_key_file",
        kind: Kind::Path,
        default: "",
        description: "A file with the public key as a plain PEM; the library base64-encodes it. Set it instead of \
                      public_key. The file is read again like credentials_file.",
        apply: store!(Path, config.public_key_file = Some),
    },
    Setting {
        name: "connect_timeout_ms",
        kind: Kind::Milliseconds(TEN_MINUTES),
        default: "5000",
        description: "How long resolving the name, connecting and the TLS handshake may take together.",
        apply: store!(Number, config.http.connect_timeout = Duration::from_millis),
    },
    Setting {
        name: "issue_timeout_ms",
        kind: Kind::Milliseconds(TEN_MINUTES),
        default: "15000",
        description: "How long an Issue may take in total if the call gives no deadline of its own.",
        apply: store!(Number, config.issue_timeout = Duration::from_millis),
    },
    Setting {
        name: "refresh_timeout_ms",
        kind: Kind::Milliseconds(TEN_MINUTES),
        default: "45000",
        description: "How long a Refresh may take in total if the call gives no deadline of its own. The default is \
                      long on purpose: a Refresh that is abandoned early may cost the refresh token.",
        apply: store!(Number, config.refresh_timeout = Duration::from_millis),
    },
    Setting {
        name: "request_timeout_ms",
        kind: Kind::Milliseconds(TEN_MINUTES),
        default: "30000",
        description: "How long a request to the rest of the API may take in total if the call gives no deadline of its \
                      own. This includes the time to obtain a token.",
        apply: store!(Number, config.request_timeout = Duration::from_millis),
    },
    Setting {
        name: "tls.ca_file",
        kind: Kind::Path,
        default: "",
        description: "A PEM file with further certificate authorities to trust. This file and the two files below are read \
                      again when they have changed; new connections then use them.",
        apply: store!(Path, config.tls.ca_file = Some),
    },
    Setting {
        name: "tls.system_roots",
        kind: Kind::Boolean,
        default: "true",
        description: "Whether the system's certificate authorities are trusted too. false: only those of tls.ca_file.",
        apply: store!(Boolean, config.tls.system_roots = |on| on),
    },
    Setting {
        name: "tls.client_cert_file",
        kind: Kind::Path,
        default: "",
        description: "A PEM file with the certificate chain for a server that asks for a client certificate. Set it \
                      together with tls.client_key_file.",
        apply: store!(Path, config.tls.client_cert_file = Some),
    },
    Setting {
        name: "tls.client_key_file",
        kind: Kind::Path,
        default: "",
        description: "A PEM file with the private key of tls.client_cert_file.",
        apply: store!(Path, config.tls.client_key_file = Some),
    },
    Setting {
        name: "proxy",
        kind: Kind::Proxy,
        default: "none",
        description: "none: connect directly. env: use HTTPS_PROXY or ALL_PROXY, and NO_PROXY, as they are when the \
                      client is made. Otherwise the proxy's URL, for example http://user:password@proxy.example:3128. \
                      A plain http base_url never uses a proxy.",
        apply: store!(Proxy, config.http.proxy = |choice| choice),
    },
    Setting {
        name: "user_agent",
        kind: Kind::Header,
        default: concat!("paymentsgate-auth/", env!("CARGO_PKG_VERSION")),
        description: "The User-Agent header. Name your program here: the vendor's support will ask for it.",
        apply: store!(Text, config.http.user_agent = |text| text),
    },
    Setting {
        name: "send_bearer_on_refresh",
        kind: Kind::Boolean,
        default: "true",
        description: "Whether a Refresh carries the access token in the Authorization header. The vendor's documentation \
                      shows it; whether the service requires it is not known.",
        apply: store!(Boolean, config.send_bearer_on_refresh = |on| on),
    },
    Setting {
        name: "max_response_bytes",
        kind: Kind::Bytes(1024, 16 * 1024 * 1024),
        default: "65536",
        description: "The largest body of an answer to Issue and Refresh. A larger body is refused.",
        apply: store!(Number, config.max_response_bytes = |bytes| bytes as usize),
    },
    Setting {
        name: "request_max_response_bytes",
        kind: Kind::Bytes(1024, 1 << 30),
        default: "8388608",
        description: "The largest body of a response to a request to the rest of the API. A larger body is refused.",
        apply: store!(Number, config.request_max_response_bytes = |bytes| bytes as usize),
    },
    Setting {
        name: "access_token",
        kind: Kind::AccessToken,
        default: "",
        description: "Of a session: the access token of a pair to start with. Set it together with refresh_token. A \
                      session may have only a pair, or also credentials, with which it recovers.",
        apply: store!(Secret, config.access_token = Some),
    },
    Setting {
        name: "refresh_token",
        kind: Kind::Secret,
        default: "",
        description: "Of a session: the refresh token of a pair to start with. Set it together with access_token. From \
                      then on nobody else may present it. The event PG_EVENT_ROTATED reports every new pair.",
        apply: store!(Secret, config.refresh_token = Some),
    },
    Setting {
        name: "access_token_expires_in_s",
        kind: Kind::Seconds(0, 86_400),
        default: "",
        description: "Of a session: how long the access_token lives, counted from the opening of the session. Not set: \
                      its age is unknown, and the session renews it before it is used, if possible.",
        apply: store!(Number, config.access_token_expires_in = |seconds| Some(Duration::from_secs(seconds))),
    },
    Setting {
        name: "static_token",
        kind: Kind::AccessToken,
        default: "",
        description: "Of a session, for tests of programs: its one access token, which never expires and is never replaced. \
                      The session makes no call to obtain a token. Set no credentials, pair or store with it. base_url is \
                      needed only for requests.",
        apply: store!(Secret, config.static_token = Some),
    },
    Setting {
        name: "store",
        kind: Kind::Store,
        default: "memory:",
        description: "Of a session: where its pair is stored. memory: in this process, until it ends. file:/folder: in \
                      a folder of this machine, which all processes that name it share and which survives restarts; \
                      each account has its own record there. redis://user:password@host:port/database, or rediss:// \
                      for TLS (with the settings tls.*): on a Redis or Valkey server, which all machines that name it \
                      share; `?replicas=1` at the end waits until one replica has each record. If the store cannot be used, the \
                      setting on_store_down applies. See docs/sharing.md and docs/redis.md.",
        apply: store!(Store, config.store = |location| location),
    },
    Setting {
        name: "store_mode",
        kind: Kind::Choice(&["private", "group"]),
        default: "private",
        description: "Of a session with a store in a folder: who may use the folder. private: one user. group: all users of \
                      the folder's group, for example two containers of a pod. Each member of the group can read and use \
                      the session's tokens, and can put a record there. Set it in every program that uses the folder. See \
                      docs/sharing.md.",
        apply: store!(Text, config.store_mode = StoreMode::named),
    },
    Setting {
        name: "store_key",
        kind: Kind::Keys,
        default: "",
        description: "Of a session: a key of 32 random bytes in base64 (`openssl rand -base64 32`), which seals its record \
                      in a folder or on a server. Two keys, separated by a comma: the first seals, and both open.",
        apply: store!(Keys, config.store_key = Some),
    },
    Setting {
        name: "store_key_file",
        kind: Kind::Path,
        default: "",
        description: "Of a session: a file that holds the value of store_key. It is read when the session is opened. \
                      Set it instead of store_key.",
        apply: store!(Path, config.store_key_file = Some),
    },
    Setting {
        name: "store_accept_plain",
        kind: Kind::Boolean,
        default: "false",
        description: "Of a session with a store_key: whether a record that is not sealed is still accepted, and sealed \
                      when it is next written. Use it only while a store changes from no key to a key: everybody who can \
                      write to the store can put such a record there.",
        apply: store!(Boolean, config.store_accept_plain = |on| on),
    },
    Setting {
        name: "on_store_down",
        kind: Kind::Choice(&["private", "fail"]),
        default: "private",
        description: "Of a session: what to do if a new token is due and the store cannot be used. private: obtain a \
                      pair with the credentials, for this process only. fail: return an error to the caller.",
        apply: store!(Text, config.fail_without_store = |word| word == "fail"),
    },
    Setting {
        name: "durability",
        kind: Kind::Choice(&["relaxed", "strict"]),
        default: "relaxed",
        description: "Of a session: what to do with a new pair that the store cannot save. relaxed: hand its token out \
                      anyway; nobody can present the old refresh token again. strict: do not hand it out.",
        apply: store!(Text, config.is_strict = |word| word == "strict"),
    },
    Setting {
        name: "on_ambiguous",
        kind: Kind::Choice(&["issue", "replay", "fail"]),
        default: "issue",
        description: "Of a session: what to do if the answer to a Refresh was lost. issue: obtain a new pair with the \
                      credentials (without credentials: replay). replay: present the refresh token once more. fail: wait \
                      until there are new credentials.",
        apply: store!(Text, config.on_ambiguous = OnAmbiguous::named),
    },
    Setting {
        name: "keep_warm",
        kind: Kind::Boolean,
        default: "false",
        description: "Of a session: whether it continues to refresh in the background if nobody has asked for a token \
                      for a whole lifetime.",
        apply: store!(Boolean, config.keep_warm = |on| on),
    },
];

impl Setting {
    /// Finds a setting by its name.
    pub fn find(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The variable that `pg_config_set_from_env` reads: for `tls.ca_file` it is `PAYMENTSGATE_TLS_CA_FILE`.
    pub fn variable(&self) -> String {
        format!("PAYMENTSGATE_{}", self.name.replace('.', "_").to_uppercase())
    }

    pub(crate) fn apply(&self, config: &mut Config, text: &str) -> Result<(), InvalidValue> {
        let value = self.kind.parse(text)?;
        (self.apply)(config, value);
        Ok(())
    }
}

impl Kind {
    /// The name of the type, as in the table.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Text | Kind::Header => "text",
            Kind::Secret | Kind::AccessToken | Kind::PublicKey | Kind::Keys => "secret",
            Kind::Path => "path",
            Kind::Url => "url",
            Kind::Proxy => "proxy",
            Kind::Store => "store",
            Kind::Boolean => "boolean",
            Kind::Milliseconds(_) => "milliseconds",
            Kind::Seconds(..) => "seconds",
            Kind::Choice(_) => "choice",
            Kind::Bytes(..) => "bytes",
        }
    }

    /// The valid values, in words.
    pub fn range(&self) -> String {
        match self {
            Kind::Text | Kind::Secret => "a text that is not empty and has no control characters".into(),
            Kind::AccessToken => "a text of visible ASCII characters without spaces".into(),
            Kind::PublicKey => "the base64 of a PEM file, in one line: `base64 -w0 < key.pem`".into(),
            Kind::Header => "a text of visible ASCII characters and spaces".into(),
            Kind::Path => "the path of a file".into(),
            Kind::Url => {
                "an https URL, or http to this machine; an ASCII host; no query, fragment, user or password"
                    .into()
            }
            Kind::Proxy => "none, env, or an http or https URL".into(),
            Kind::Store => {
                "memory:, file: and the absolute path of a folder, or redis:// or rediss:// with a host"
                    .into()
            }
            Kind::Keys => Keyring::WANTED.into(),
            Kind::Boolean => "true or false".into(),
            Kind::Milliseconds(most) => format!("a whole number of milliseconds from 1 to {most}"),
            Kind::Seconds(least, most) => format!("a whole number of seconds from {least} to {most}"),
            Kind::Choice(words) => words.join(", "),
            Kind::Bytes(least, most) => format!("a whole number of bytes from {least} to {most}"),
        }
    }

    /// A value in the form in which an error may show it: no secret, and limited in length.
    pub(crate) fn display_value(&self, text: &str) -> String {
        match self {
            Kind::Secret | Kind::AccessToken | Kind::PublicKey | Kind::Keys => "[secret]".into(),
            Kind::Url | Kind::Proxy | Kind::Store if may_hold_secret(text) => {
                "[not shown: it may hold a secret]".into()
            }
            Kind::Url | Kind::Proxy | Kind::Store => {
                format!("{:?}", text.chars().take(128).collect::<String>())
            }
            Kind::Path => format!("{:?}", path_text(Path::new(text))),
            // A token in the place of another value is not recognized by 15 characters of it.
            _ => format!("{:?}", text.chars().take(15).collect::<String>()),
        }
    }

    fn parse(&self, text: &str) -> Result<Value, InvalidValue> {
        let invalid = || InvalidValue { status: Status::PG_ERR_INVALID_SETTING, expected: self.range() };
        // A value that comes from a file may have a final line break, which is removed.
        let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(invalid());
        }
        let number = |least: u64, most: u64| {
            text.parse().ok().filter(|number| (least..=most).contains(number)).map(Value::Number)
        };
        match self {
            Kind::Text => Some(Value::Text(text.to_owned())),
            Kind::Header => text.is_ascii().then(|| Value::Text(text.to_owned())),
            Kind::Secret | Kind::PublicKey => Secret::new(text).map(Value::Secret),
            Kind::AccessToken => Secret::new(text).filter(is_access_token).map(Value::Secret),
            Kind::Path => Some(Value::Path(PathBuf::from(text))),
            Kind::Url => return parse_base_url(text).ok_or_else(invalid)?.map(Value::Url),
            Kind::Proxy => ProxyChoice::parse(text).map(Value::Proxy),
            Kind::Store => Location::parse(text).map(Value::Store),
            Kind::Keys => Keyring::parse(text).map(Value::Keys),
            Kind::Boolean => text.parse().ok().map(Value::Boolean),
            Kind::Milliseconds(most) => number(1, *most),
            Kind::Seconds(least, most) | Kind::Bytes(least, most) => number(*least, *most),
            Kind::Choice(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
        }
        .ok_or_else(invalid)
    }
}

/// Whether more than a scheme, a host, a port and a path may be in a text that should be a URL. Some services write the password
/// behind the address. A text without a scheme may be a token in the place of an address.
fn may_hold_secret(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | ':' | '-' | '_');
    let has_scheme = text.contains("://") || text.starts_with("file:");
    let is_host = text.contains(['.', ':']) && !text.contains(char::is_uppercase);
    !text.chars().all(is_plain)
        || text.matches(':').count() > 2
        || !(has_scheme || is_host || text.len() < 16)
}

/// `None`: not a base URL. `Err`: a base URL that would send tokens in clear.
fn parse_base_url(text: &str) -> Option<Result<Url, InvalidValue>> {
    let mut url = Url::parse(text).ok()?;
    let host = url.host_str()?.to_owned();
    let is_plain = match url.scheme() {
        "https" => false,
        "http" => true,
        _ => return None,
    };
    let has_extras = url.query().is_some() || url.fragment().is_some() || url.password().is_some();
    if has_extras || !url.username().is_empty() {
        return None;
    }
    if is_plain && !is_loopback(&host) {
        let expected = format!(
            "https://{host} (plain http is only allowed to this machine: tokens would be sent in clear)"
        );
        return Some(Err(InvalidValue { status: Status::PG_ERR_INSECURE_URL, expected }));
    }
    // Joined paths must be below a base such as https://host/gate, with or without a final slash.
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(Ok(url))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or_else(|_| host == "localhost", |address| address.is_loopback())
}
