//! The sources of settings, in order of precedence: command line, environment, file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use paymentsgate_auth::{Config, Error, SETTINGS, Setting, Status, read_file};
use serde_json::{Map, Value};

use crate::arguments::SettingsArguments;

const PREFIX: &str = "PAYMENTSGATE_";
/// The path of the shared library for wrappers. It is not a setting.
const LIBRARY: &str = "PAYMENTSGATE_AUTH_LIB";

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
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => f.write_str(flag),
            Source::Variable(name) => write!(f, "the environment variable {name}"),
            Source::File(path) => write!(f, "the settings file {}", path.display()),
        }
    }
}

impl Settings {
    /// Reads the sources. [`Settings::config`] reports errors in them.
    pub(crate) fn gather(arguments: &SettingsArguments) -> Self {
        let mut settings = Settings { given: Vec::new(), troubles: Vec::new(), file: None };
        if let Some(path) = arguments.settings.clone().or_else(usual_file) {
            match from_file(&path) {
                Ok(given) => settings.given.extend(given),
                Err(error) => settings.troubles.push(error),
            }
            settings.file = Some(path);
        }
        for setting in SETTINGS {
            let name = variable(setting);
            let Some(value) = std::env::var_os(&name) else { continue };
            match value.into_string() {
                Ok(value) => settings.give(setting.name, value, Source::Variable(name)),
                Err(_) => {
                    let text = format!("{}: it is not UTF-8", Source::Variable(name));
                    settings.troubles.push(Error::new(Status::PG_ERR_INVALID_UTF8, text));
                }
            }
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

    fn give(&mut self, name: &str, value: String, source: Source) {
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
        self.given.iter().rev().find(|given| given.name == name).map(|given| given.value.as_str())
    }

    /// Whether the store ends with the process.
    pub(crate) fn keeps_nothing(&self) -> bool {
        self.value("store").is_none_or(|place| place == "memory:")
    }

    /// The settings that are set, and their sources, without their values.
    pub(crate) fn sources(&self) -> String {
        let rows = SETTINGS.iter().filter_map(|setting| {
            let given = self.given.iter().rev().find(|given| given.name == setting.name)?;
            Some(match &given.source {
                Source::Flag(flag) => format!("{} ({flag})", setting.name),
                Source::Variable(name) => format!("{} ({name})", setting.name),
                Source::File(path) => format!("{} ({})", setting.name, path.display()),
            })
        });
        rows.collect::<Vec<_>>().join(", ")
    }

    /// Whether the settings file contains a secret.
    pub(crate) fn file_holds_secrets(&self) -> bool {
        self.given.iter().any(|given| {
            // A URL may contain a password.
            let is_secret = given.value.contains('@')
                || Setting::find(&given.name).is_some_and(|setting| setting.kind.name() == "secret");
            is_secret && matches!(given.source, Source::File(_))
        })
    }

    /// Variables that look like settings and are none.
    pub(crate) fn unknown_variables() -> Vec<String> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let is_unknown = |name: &String| {
            name.starts_with(PREFIX)
                && name != LIBRARY
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

/// The default settings file.
fn usual_file() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    let path = folder.join("paymentsgate-auth/settings.json");
    path.exists().then_some(path)
}

fn from_file(path: &Path) -> Result<Vec<Given>, Error> {
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
        Ok(Given { name, value, source: source.clone() })
    });
    given.collect()
}
