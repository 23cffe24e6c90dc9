//! The sources of settings, in order of precedence: command line, environment, profile or file; and the default store.

use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use paymentsgate_auth::{Config, Error, Kind, SETTINGS, Setting, Status, read_file};
use serde_json::{Map, Value};

use crate::arguments::SettingsArguments;
use crate::profile::{self, Choice};

const PREFIX: &str = "PAYMENTSGATE_";
/// The path of the shared library for wrappers. It is not a setting.
const LIBRARY: &str = "PAYMENTSGATE_AUTH_LIB";
/// The variables that `exec` gives to a program: the token, or the path of its file.
pub(crate) const TOKEN: &str = "PAYMENTSGATE_ACCESS_TOKEN";
pub(crate) const TOKEN_FILE: &str = "PAYMENTSGATE_ACCESS_TOKEN_FILE";

/// All given values. The last one of a name wins.
pub(crate) struct Settings {
    given: Vec<Given>,
    /// Errors in the sources themselves.
    troubles: Vec<Error>,
    /// The settings file that was read.
    pub(crate) file: Option<PathBuf>,
}

/// A value and its source.
struct Given {
    name: String,
    value: String,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Flag(&'static str),
    Variable(String),
    File(Arc<Path>),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => f.write_str(flag),
            Source::Variable(name) => write!(f, "the environment variable {name}"),
            Source::File(path) => write!(f, "the settings file {}", path.display()),
            Source::Default => f.write_str("the default of the command line"),
        }
    }
}

impl Settings {
    /// Reads the sources. [`Settings::config`] reports errors in them.
    pub(crate) fn gather(arguments: &SettingsArguments) -> Self {
        let mut settings = Settings { given: Vec::new(), troubles: Vec::new(), file: None };
        if let Some(folder) = default_folder().as_deref().and_then(Path::to_str) {
            settings.give("store", format!("file:{folder}"), Source::Default);
        }
        let choice = Choice::of(arguments);
        match &choice {
            Choice::Variable(name) => settings.read_profile(name),
            Choice::None => settings.read_usual(arguments.settings.clone()),
            Choice::Flag(_) => {}
        }
        settings.read_environment();
        if let Choice::Flag(name) = &choice {
            settings.read_profile(name);
        }
        for (name, value) in &arguments.set {
            settings.give(name, value.clone(), Source::Flag("--set"));
        }
        let flags = [
            ("base_url", "--base-url", &arguments.base_url),
            ("credentials_file", "--credentials-file", &arguments.credentials_file),
            ("store", "--store", &arguments.store),
        ];
        for (name, flag, value) in flags {
            value.iter().for_each(|value| settings.give(name, value.clone(), Source::Flag(flag)));
        }
        settings
    }

    /// Reads the settings file that is named, or else the usual one.
    fn read_usual(&mut self, named: Option<PathBuf>) {
        let Some(path) = named.or_else(usual_file) else { return };
        match from_file(&path) {
            Ok(given) => self.give_all(&path, given),
            Err(error) => self.troubles.push(error),
        }
        self.file = Some(path);
    }

    fn read_profile(&mut self, name: &str) {
        let found = profile::find(name).and_then(|path| {
            self.file = Some(path.clone());
            Ok((profile::read(&path)?, path))
        });
        match found {
            Ok((given, path)) => self.give_all(&path, given),
            Err(error) => self.troubles.push(error),
        }
    }

    fn read_environment(&mut self) {
        for setting in SETTINGS {
            let name = variable(setting);
            // Without a refresh token it is the one of `exec`, and no setting.
            if name == TOKEN && std::env::var_os("PAYMENTSGATE_REFRESH_TOKEN").is_none() {
                continue;
            }
            let Some(value) = std::env::var_os(&name) else { continue };
            match value.into_string() {
                Ok(value) => self.give(setting.name, value, Source::Variable(name)),
                Err(_) => {
                    let text = format!("{}: it is not UTF-8", Source::Variable(name));
                    self.troubles.push(Error::new(Status::PG_ERR_INVALID_UTF8, text));
                }
            }
        }
    }

    fn give_all(&mut self, path: &Path, given: Vec<(String, String)>) {
        let source = Source::File(path.into());
        given.into_iter().for_each(|(name, value)| self.give(&name, value, source.clone()));
    }

    fn give(&mut self, name: &str, value: String, source: Source) {
        // A shell does not expand it behind a colon, or in a file.
        let prefix = match Setting::find(name).map(|setting| &setting.kind) {
            Some(Kind::Store) => "file:",
            Some(Kind::Path) => "",
            _ => return self.given.push(Given { name: name.to_owned(), value, source }),
        };
        let rest = value.strip_prefix(prefix).and_then(|path| path.strip_prefix("~/"));
        let value = match (rest, home().as_deref().and_then(Path::to_str)) {
            (Some(rest), Some(home)) => format!("{prefix}{home}/{rest}"),
            _ => value,
        };
        self.given.push(Given { name: name.to_owned(), value, source });
    }

    /// The configuration, or the first error.
    pub(crate) fn config(&self) -> Result<Config, Error> {
        let (config, troubles) = self.examine(|_| true);
        troubles.into_iter().next().map_or(Ok(config), Err)
    }

    /// The configuration of the valid settings, and all errors.
    pub(crate) fn examine(&self, is_wanted: impl Fn(&str) -> bool) -> (Config, Vec<Error>) {
        let mut config = Config::default();
        let mut troubles = self.troubles.clone();
        for Given { name, value, source } in self.given.iter().filter(|given| is_wanted(&given.name)) {
            if let Err(error) = config.set(name, value) {
                troubles.push(Error { text: format!("{source}: {}", error.text), ..error });
            }
        }
        (config, troubles)
    }

    /// The value that wins.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.winner(name).map(|given| given.value.as_str())
    }

    fn winner(&self, name: &str) -> Option<&Given> {
        self.given.iter().rev().find(|given| given.name == name)
    }

    /// Makes the folder of the default store if it does not exist, with its parents. Opening another store makes its
    /// folder, but no parents.
    pub(crate) fn make_default_store(&self) -> Result<(), Error> {
        let Some(store) = self.winner("store").filter(|store| matches!(store.source, Source::Default)) else {
            return Ok(());
        };
        let folder = Path::new(store.value.trim_start_matches("file:"));
        // The folder of a group has other permissions, which the library gives it.
        let is_shared = self.value("store_mode") == Some("group");
        let made = if is_shared { folder.parent().unwrap_or(folder) } else { folder };
        DirBuilder::new().recursive(true).mode(0o700).create(made).map_err(|error| {
            let text = format!(
                "cannot make {}, where the command line keeps sessions: {error}; set store to file:/folder, or \
                 XDG_STATE_HOME to a folder that can be written",
                folder.display()
            );
            Error::new(Status::PG_ERR_STORE, text)
        })
    }

    /// Whether the store ends with the process.
    pub(crate) fn keeps_nothing(&self) -> bool {
        self.value("store").is_none_or(|place| place == "memory:")
    }

    /// The settings that are set, and their sources, without their values.
    pub(crate) fn sources(&self) -> String {
        SETTINGS.iter().filter_map(|setting| self.source(setting.name)).collect::<Vec<_>>().join(", ")
    }

    /// A setting and its source, if it is set.
    pub(crate) fn source(&self, name: &str) -> Option<String> {
        let given = self.winner(name)?;
        Some(match &given.source {
            Source::Flag(flag) => format!("{name} ({flag})"),
            Source::Variable(variable) => format!("{name} ({variable})"),
            Source::File(path) => format!("{name} ({})", path.display()),
            Source::Default => format!("{name} (default: {})", given.value),
        })
    }

    /// Whether the settings file contains a secret.
    pub(crate) fn file_holds_secrets(&self) -> bool {
        self.given.iter().any(|given| {
            matches!(given.source, Source::File(_)) && profile::is_secret(&given.name, &given.value)
        })
    }

    /// Variables that look like settings and are none.
    pub(crate) fn unknown_variables() -> Vec<String> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let is_unknown = |name: &String| {
            name.starts_with(PREFIX)
                && ![LIBRARY, TOKEN_FILE, profile::VARIABLE].contains(&name.as_str())
                && !SETTINGS.iter().any(|setting| variable(setting) == *name)
        };
        let mut unknown: Vec<_> = names.filter(is_unknown).collect();
        unknown.sort();
        unknown
    }
}

/// `tls.ca_file` is `PAYMENTSGATE_TLS_CA_FILE`.
fn variable(setting: &Setting) -> String {
    format!("{PREFIX}{}", setting.name.replace('.', "_").to_uppercase())
}

/// The folder that an environment variable names. The XDG specification ignores relative paths.
pub(crate) fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn home() -> Option<PathBuf> {
    absolute("HOME")
}

/// The folder of the store if no source sets one.
fn default_folder() -> Option<PathBuf> {
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(home()?.join(".local/state")))?;
    Some(state.join("paymentsgate-auth"))
}

/// The folder of the default settings file and of profiles.
pub(crate) fn config_folder() -> Option<PathBuf> {
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")))?;
    Some(folder.join("paymentsgate-auth"))
}

/// The default settings file.
fn usual_file() -> Option<PathBuf> {
    let path = config_folder()?.join("settings.json");
    path.exists().then_some(path)
}

fn from_file(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let source = Source::File(path.into());
    let wrong = |what: String| Error::new(Status::PG_ERR_INVALID_SETTING, format!("{source}: {what}"));
    let bytes = read_file("settings file", path)?;
    // The parser's message may quote a secret.
    let object: Map<String, Value> = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        wrong(format!("not a JSON object of settings: error at line {line}, column {column}"))
    })?;
    let given = object.into_iter().map(|(name, value)| {
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(is_on) => is_on.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(wrong(format!("{name:?}: give a text, a number, true or false")));
            }
        };
        Ok((name, value))
    });
    given.collect()
}
