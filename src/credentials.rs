//! The credentials of a service account: its id, and the public key that the service accepts as proof.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use once_cell::race::OnceBox;
use serde::Deserialize;

use crate::error::Error;
use crate::redaction::path_text;
use crate::rotation::Reloaded;
use crate::secret::{Secret, Wiped};
use crate::status::Status;

/// The credentials for Issue. Source: "Issuing a JWT token" in the vendor's documentation.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The account's UUID. It is not secret, but it is handled as a secret because it is half of the credentials.
    pub account_id: Secret,
    /// The content of the PEM file, base64-encoded once more.
    pub public_key: Secret,
}

impl Credentials {
    /// Checks both parts. `origin` names the source of the credentials in errors.
    pub fn new(account_id: &str, public_key: &str, origin: &str) -> Result<Self, Error> {
        let account_id = Secret::new(account_id.trim()).ok_or_else(|| {
            let text = format!("{origin}: account_id is empty or holds a NUL; give the account's UUID");
            Error::new(Status::PG_ERR_INVALID_ARGUMENT, text)
        })?;
        Ok(Credentials { account_id, public_key: check_public_key(public_key.trim(), origin)? })
    }

    /// Reads the vendor's `credentials.json`. Only `account_id` and `public_key` are used; `private_key` is never kept.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let origin = format!("credentials_file {}", path.display());
        let json = read_secret_file("credentials_file", path)?;
        let invalid =
            |what: String| Error::new(Status::PG_ERR_INVALID_CREDENTIALS_FILE, format!("{origin}: {what}"));
        let file: CredentialsFile = serde_json::from_str(&json).map_err(|error| {
            // The text of a serde error may quote the value, which may be a key.
            invalid(format!(
                "not the vendor's JSON: error at line {}, column {}; account_id and public_key must be texts, \
                 each given once. Download the file again",
                error.line(),
                error.column()
            ))
        })?;
        let lacking =
            |key: &str| invalid(format!("the key `{key}` is missing or empty; download the file again"));
        let account_id =
            file.account_id.filter(|text| !text.trim().is_empty()).ok_or_else(|| lacking("account_id"))?;
        let public_key =
            file.public_key.filter(|text| !text.trim().is_empty()).ok_or_else(|| lacking("public_key"))?;
        Credentials::new(&account_id, &public_key, &origin)
    }
}

/// Where the credentials of an account come from.
#[derive(Clone)]
pub(crate) enum CredentialsSource {
    /// The settings, which do not change.
    Settings(Arc<Credentials>),
    /// A file, which is read again when it has changed.
    File(Arc<Reloaded<Credentials>>),
}

impl CredentialsSource {
    /// `read` returns the credentials from `file`.
    pub(crate) fn of_file(
        file: PathBuf,
        read: impl Fn() -> Result<Option<Credentials>, Error> + Send + Sync + 'static,
    ) -> Result<Option<Self>, Error> {
        let Some(first) = read()? else { return Ok(None) };
        let file_name = file.display().to_string();
        // The file may change before `Reloaded` reads it, and that read decides the account.
        let account: OnceBox<Secret> = OnceBox::new();
        let make = move || {
            let found = read()?.unwrap_or_else(|| first.clone());
            let account = account.get_or_init(|| Box::new(found.account_id.clone()));
            if found.account_id == *account {
                Ok(found)
            } else {
                Err(other_account(&file_name, account, &found))
            }
        };
        Ok(Some(CredentialsSource::File(Arc::new(Reloaded::new(vec![file], Box::new(make))?))))
    }

    /// The current credentials. If the file cannot be used, or belongs to another account now, the last good ones.
    /// Checks the file, which may block.
    pub(crate) fn reload(&self) -> Arc<Credentials> {
        match self {
            CredentialsSource::Settings(credentials) => credentials.clone(),
            CredentialsSource::File(file) => file.reload(),
        }
    }

    /// Like `reload`, for async code: does not wait for a file system that hangs.
    pub(crate) async fn reload_async(&self) -> Arc<Credentials> {
        match self {
            CredentialsSource::Settings(credentials) => credentials.clone(),
            CredentialsSource::File(file) => file.reload_async().await,
        }
    }

    /// The credentials that the last check found, without checking the file.
    pub(crate) fn last(&self) -> Arc<Credentials> {
        match self {
            CredentialsSource::Settings(credentials) => credentials.clone(),
            CredentialsSource::File(file) => file.last(),
        }
    }

    /// The file, if the credentials come from one.
    pub(crate) fn file(&self) -> Option<&Arc<Reloaded<Credentials>>> {
        if let CredentialsSource::File(file) = self { Some(file) } else { None }
    }

    /// Why the current file cannot be used, if it cannot.
    pub(crate) fn reload_error(&self) -> Option<Error> {
        self.file()?.reload_error()
    }
}

/// The current credentials, if the file now holds another key than `seen`: for use before an Issue, and after Issue has
/// refused them. Checks the file, which may block.
pub(crate) fn renewed(file: &Reloaded<Credentials>, seen: &Credentials) -> Option<Arc<Credentials>> {
    let found = file.reload();
    // A file that cannot be used now has unknown content: the last good credentials stay in use.
    let is_new = file.reload_error().is_none() && found.public_key != seen.public_key;
    is_new.then_some(found)
}

/// A session belongs to one account, and so do its store and tokens.
fn other_account(file: &str, ours: &Secret, found: &Credentials) -> Error {
    let text = format!(
        "credentials_file {file}: the file now belongs to another account ({}), but this client and its sessions use {}; \
         restore the file of this account, or make a new client for the other one",
        found.account_id.expose(),
        ours.expose()
    );
    Error::new(Status::PG_ERR_INVALID_CREDENTIALS_FILE, text)
}

#[derive(Deserialize)]
struct CredentialsFile {
    account_id: Option<Wiped<String>>,
    public_key: Option<Wiped<String>>,
}

/// Reads a PEM file and encodes it in the form that the service expects.
pub fn public_key_from_pem_file(path: &Path) -> Result<Secret, Error> {
    let pem = read_secret_file("public_key_file", path)?;
    let origin = format!("public_key_file {}", path.display());
    if !is_pem(&pem) {
        let text = format!(
            "{origin}: not a PEM file (no `-----BEGIN …-----` line); give the PEM as the vendor sent it"
        );
        return Err(Error::new(Status::PG_ERR_INVALID_PEM, text));
    }
    let encoded = Wiped::new(TOLERANT_BASE64.encode(pem.as_bytes()));
    check_public_key(&encoded, &origin)
}

/// Accepts base64 with and without padding, since the vendor's tools produce both. The text is sent as it was given.
pub(crate) const TOLERANT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn check_public_key(text: &str, origin: &str) -> Result<Secret, Error> {
    let invalid =
        |what: &str| Err(Error::new(Status::PG_ERR_INVALID_PEM, format!("{origin}: public_key {what}")));
    if text.is_empty() {
        return invalid("is empty; give the base64 of the PEM file");
    }
    if is_pem(text) {
        return invalid(
            "is a bare PEM; the service wants it base64-encoded once more: use public_key_file, or encode it",
        );
    }
    if text.contains(char::is_whitespace) {
        return invalid("has several lines; give the base64 of the PEM file in one line (`base64 -w0`)");
    }
    let Ok(pem) = TOLERANT_BASE64.decode(text).map(Wiped::new) else {
        return invalid("is not base64; give the base64 of the PEM file, or set public_key_file");
    };
    match (std::str::from_utf8(&pem).is_ok_and(is_pem), Secret::new(text)) {
        (true, Some(secret)) => Ok(secret),
        _ => invalid(
            "is base64, but not of a PEM (no `-----BEGIN …-----` line); encode the PEM file as a whole",
        ),
    }
}

fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN ") && text.contains("-----END ")
}

/// Reads a text file that a setting names, into memory that is wiped afterwards.
fn read_secret_file(setting: &str, path: &Path) -> Result<Wiped<String>, Error> {
    let bytes = read_file(setting, path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Wiped::new(without_mark(text).to_owned())),
        Err(_) => {
            let text = format!("{setting} {}: not a text file (bytes that are not UTF-8)", path.display());
            let status = match setting {
                "credentials_file" => Status::PG_ERR_INVALID_CREDENTIALS_FILE,
                _ => Status::PG_ERR_INVALID_PEM,
            };
            Err(Error::new(status, text))
        }
    }
}

/// The text without the byte order mark that some editors and servers put in front of it.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Reads a file that a setting names.
pub fn read_file(setting: &str, path: &Path) -> Result<Wiped<Vec<u8>>, Error> {
    std::fs::read(path).map(Wiped::new).map_err(|error| {
        let text = format!(
            "{setting}: cannot read {}: {error}; check the path and its permissions",
            path_text(path)
        );
        Error::new(Status::PG_ERR_FILE_UNREADABLE, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";

    fn encoded() -> String {
        TOLERANT_BASE64.encode(PEM)
    }

    fn file(json: &str) -> Result<Credentials, Error> {
        let path = std::env::temp_dir().join(format!("pg-credentials-{}-{:p}", std::process::id(), json));
        std::fs::write(&path, json).unwrap();
        let read = Credentials::from_file(&path);
        std::fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn the_vendors_file_is_read_and_its_private_key_forgotten() {
        let json = format!(
            r#"{{"account_id":"a-1","public_key":"{}","private_key":"zzz","realm":"sandbox","new":[1]}}"#,
            encoded()
        );
        let credentials = file(&json).unwrap();
        assert_eq!(credentials.account_id.expose(), "a-1");
        assert_eq!(credentials.public_key.expose(), encoded());
    }

    #[test]
    fn a_broken_file_names_the_path_and_the_key_and_shows_no_value() {
        for (json, wrong) in [
            (r#"{"public_key":"c2VjcmV0"}"#, "`account_id`"),
            (r#"{"account_id":"a-1"}"#, "`public_key`"),
            (r#"{"account_id":"a-1","public_key":"  "}"#, "`public_key`"),
            (r#"{"account_id":5,"public_key":"c2VjcmV0"}"#, "line 1"),
            (r#"{"account_id":"a-1","public_key":"c2VjcmV0","#, "line 1"),
            (r#"{"account_id":"a-1","account_id":"a-2","public_key":"c2VjcmV0"}"#, "line 1"),
        ] {
            let error = file(json).unwrap_err();
            assert_eq!(error.status, Status::PG_ERR_INVALID_CREDENTIALS_FILE, "{json}");
            assert!(error.text.contains(wrong) && error.text.contains("pg-credentials-"), "{}", error.text);
            assert!(!error.text.contains("c2VjcmV0"), "{}", error.text);
        }
    }

    #[test]
    fn a_public_key_must_be_the_base64_of_a_pem() {
        for (text, wrong) in [
            ("", "empty"),
            (PEM, "bare PEM"),
            ("%%%", "not base64"),
            ("aGVsbG8=", "not of a PEM"),
            ("aGVs\nbG8=", "`base64 -w0`"),
        ] {
            let error = Credentials::new("a-1", text, "here").unwrap_err();
            assert_eq!(error.status, Status::PG_ERR_INVALID_PEM);
            assert!(error.text.contains(wrong), "{}", error.text);
        }
        assert!(Credentials::new("a-1", encoded().trim_end_matches('='), "here").is_ok());
    }

    #[test]
    fn a_byte_order_mark_and_a_final_newline_are_no_part_of_the_credentials() {
        let json = format!("\u{feff}{{\"account_id\":\"a-1\\n\",\"public_key\":\"{}\\n\"}}", encoded());
        let credentials = file(&json).unwrap();
        assert_eq!(credentials.account_id.expose(), "a-1");
        assert_eq!(credentials.public_key.expose(), encoded());
        let wrapped = json.replace(&encoded(), &encoded().replace("QUJ", "QUJ\\n").replacen('L', "L\\n", 1));
        assert!(file(&wrapped).unwrap_err().text.contains("`base64 -w0`"));
    }

    fn watched(path: &Path) -> Arc<Reloaded<Credentials>> {
        let read = path.to_owned();
        let read = move || Credentials::from_file(&read).map(Some);
        let source = CredentialsSource::of_file(path.to_owned(), read).unwrap().unwrap();
        source.file().unwrap().clone()
    }

    fn write(path: &Path, account: &str, key: &str) {
        let key = TOLERANT_BASE64.encode(PEM.replace("AAAA", key));
        let json = format!(r#"{{"account_id":"{account}","public_key":"{key}"}}"#);
        let new = path.with_extension("new");
        std::fs::write(&new, json).unwrap();
        std::fs::rename(&new, path).unwrap();
    }

    #[test]
    fn a_new_key_of_the_same_account_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        write(&path, "a-1", "AAAA");
        let file = watched(&path);
        let first = file.reload();
        assert!(renewed(&file, &first).is_none());
        write(&path, "a-1", "BBBB");
        let second = renewed(&file, &first).unwrap();
        assert_ne!(second.public_key, first.public_key);
        assert!(renewed(&file, &second).is_none());
        write(&path, "a-1", "BBBB");
        assert!(renewed(&file, &second).is_none(), "another file, the same key");
    }

    #[test]
    fn a_file_that_is_broken_or_gone_changes_nothing_and_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        write(&path, "a-1", "AAAA");
        let file = watched(&path);
        let first = file.reload();
        std::fs::write(&path, "{").unwrap();
        assert!(renewed(&file, &first).is_none());
        assert!(file.reload_error().unwrap().text.contains("credentials.json"));
        std::fs::remove_file(&path).unwrap();
        assert!(renewed(&file, &first).is_none());
        assert_eq!(file.reload_error().unwrap().status, Status::PG_ERR_FILE_UNREADABLE);
        assert_eq!(file.reload().public_key, first.public_key);
        write(&path, "a-1", "BBBB");
        assert!(renewed(&file, &first).is_some() && file.reload_error().is_none());
    }

    #[test]
    fn the_file_of_another_account_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        write(&path, "a-1", "AAAA");
        let file = watched(&path);
        let first = file.reload();
        write(&path, "b-2", "BBBB");
        assert!(renewed(&file, &first).is_none());
        assert_eq!(file.reload().account_id, first.account_id);
        let text = file.reload_error().unwrap().text;
        assert!(text.contains("a-1") && text.contains("b-2") && text.contains("credentials.json"), "{text}");
        write(&path, "a-1", "CCCC");
        assert!(renewed(&file, &first).is_some());
    }

    #[test]
    fn an_unreadable_file_names_setting_and_path() {
        let error = Credentials::from_file(Path::new("/nowhere/credentials.json")).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_FILE_UNREADABLE);
        assert!(error.text.contains("credentials_file") && error.text.contains("/nowhere/credentials.json"));
    }
}
