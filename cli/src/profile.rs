//! Profiles: named files of settings in TOML, without secrets.

use std::fs;
use std::path::{Path, PathBuf};

use paymentsgate_auth::{Error, Kind, Setting, Status, read_file};
use toml::{Table, Value};

use crate::arguments::SettingsArguments;
use crate::settings::config_folder;

/// The variable that names a profile. It is not a setting.
pub(crate) const VARIABLE: &str = "PAYMENTSGATE_PROFILE";

/// The profile that was chosen. A flag is a choice for this command, and wins over the environment.
pub(crate) enum Choice {
    Flag(String),
    Variable(String),
    None,
}

impl Choice {
    pub(crate) fn of(arguments: &SettingsArguments) -> Self {
        if let Some(name) = &arguments.profile {
            return Choice::Flag(name.clone());
        }
        match std::env::var_os(VARIABLE).filter(|name| !name.is_empty() && arguments.settings.is_none()) {
            Some(name) => Choice::Variable(name.to_string_lossy().into_owned()),
            None => Choice::None,
        }
    }
}

/// The path of a profile, which exists.
pub(crate) fn find(name: &str) -> Result<PathBuf, Error> {
    let wrong = |text: String| Err(Error::new(Status::PG_ERR_INVALID_SETTING, text));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return wrong(format!("profile {name:?}: give a name of letters, digits, - and _"));
    }
    let Some(folder) = config_folder().map(|folder| folder.join("profiles")) else {
        return wrong(format!(
            "profile {name}: neither HOME nor XDG_CONFIG_HOME is set, so there are no profiles"
        ));
    };
    let path = folder.join(format!("{name}.toml"));
    if path.exists() {
        return Ok(path);
    }
    let others = match names(&folder).as_slice() {
        [] => "there are no profiles".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    wrong(format!("profile {name}: {} does not exist; {others}", path.display()))
}

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let profiles = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let mut names: Vec<_> =
        profiles.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    names
}

/// The settings of a profile, by their names.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let wrong = |what: String| {
        Error::new(Status::PG_ERR_INVALID_SETTING, format!("profile {}: {what}", path.display()))
    };
    let bytes = read_file("profile", path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8".into()))?;
    // The parser's message may quote a secret.
    let table: Table = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        wrong(format!("not a TOML file of settings: error at line {}", before.split('\n').count()))
    })?;
    let mut values = Vec::new();
    flatten("", table, &mut values).map_err(&wrong)?;
    match values.iter().find(|(name, value)| is_secret(name, value)) {
        Some((name, _)) => Err(wrong(format!(
            "{name} has a secret, and a profile must not; name a file instead (credentials_file, public_key_file, \
             store_key_file), or set PAYMENTSGATE_{}",
            name.to_uppercase()
        ))),
        None => Ok(values),
    }
}

/// `tls.ca_file` is a key of the table `tls`.
fn flatten(above: &str, table: Table, values: &mut Vec<(String, String)>) -> Result<(), String> {
    for (key, value) in table {
        let name = format!("{above}{key}");
        let value = match value {
            Value::Table(inner) => {
                flatten(&format!("{name}."), inner, values)?;
                continue;
            }
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Boolean(is_on) => is_on.to_string(),
            Value::Float(_) | Value::Datetime(_) | Value::Array(_) => {
                return Err(format!("{name:?}: give a text, a whole number, true or false"));
            }
        };
        values.push((name, value));
    }
    Ok(())
}

/// Whether the value is a secret, or a URL with a password.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    let has_password = || {
        let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
        rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    };
    Setting::find(name).is_some_and(|setting| match setting.kind {
        Kind::Proxy | Kind::Store => has_password(),
        _ => setting.kind.name() == "secret",
    })
}
