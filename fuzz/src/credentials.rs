//! The vendor's credentials file: what is read is what the file says, and no error shows a key.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use paymentsgate_auth::credentials::{Credentials, public_key_from_pem_file};
use paymentsgate_auth::error::Error;
use paymentsgate_auth::status::Status;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::input::expand;
use super::scripted::{PUBLIC_KEY, check_error};

const PRIVATE_KEY: &str = "cHJpdmF0ZS1zM250aW5lbA";
/// In the file's public key.
const BODY_OF_PEM: &str = "cHVibGljLXMzbnRpbmVs";

/// A file with this content, in memory where the system has a folder for that.
pub fn file(content: &[u8]) -> NamedTempFile {
    let memory = Path::new("/dev/shm");
    let mut file =
        if memory.is_dir() { NamedTempFile::new_in(memory) } else { NamedTempFile::new() }.unwrap();
    file.write_all(content).unwrap();
    file
}

pub fn run(bytes: &[u8]) {
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{BODY_OF_PEM}\n-----END PUBLIC KEY-----\n");
    let coded = STANDARD.encode(&pem);
    let texts = [PRIVATE_KEY, PUBLIC_KEY, &coded, &pem].map(str::as_bytes);
    let content = expand(bytes, &texts);
    let secrets = [PRIVATE_KEY, PUBLIC_KEY, &coded, BODY_OF_PEM];
    let path = file(&content);
    match Credentials::from_file(path.path()) {
        Ok(read) => check_credentials(&content, &read),
        Err(error) => {
            assert!(error.text.contains("credentials_file"), "{}", error.text);
            check(&error, &secrets, path.path());
        }
    }
    match public_key_from_pem_file(path.path()) {
        Ok(key) => {
            let text = std::str::from_utf8(&content).unwrap();
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            assert_eq!(STANDARD.decode(key.expose()).unwrap(), text.as_bytes());
        }
        Err(error) => check(&error, &secrets, path.path()),
    }
}

fn check(error: &Error, secrets: &[&str], path: &Path) {
    check_error(error, secrets);
    assert!(
        matches!(
            error.status,
            Status::PG_ERR_INVALID_CREDENTIALS_FILE
                | Status::PG_ERR_INVALID_PEM
                | Status::PG_ERR_INVALID_ARGUMENT
        ),
        "{error}"
    );
    assert!(error.text.contains(path.to_str().unwrap()), "{error}");
}

fn check_credentials(content: &[u8], read: &Credentials) {
    let (account_id, public_key) = (read.account_id.expose(), read.public_key.expose());
    let text = std::str::from_utf8(content).unwrap();
    let value: Option<Value> = serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)).ok();
    if let Some(value) = value {
        assert_eq!(value["account_id"].as_str().map(str::trim), Some(account_id));
        assert_eq!(value["public_key"].as_str().map(str::trim), Some(public_key));
    }
    assert!(!format!("{read:?}").contains(public_key));
    let again = json!({"account_id": account_id, "public_key": public_key, "private_key": PRIVATE_KEY});
    let again = Credentials::from_file(file(again.to_string().as_bytes()).path()).unwrap();
    assert_eq!((again.account_id.expose(), again.public_key.expose()), (account_id, public_key));
}
