//! PEM files of certificate authorities, client certificates and keys: whole, changed, cut and mixed.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use paymentsgate_auth::error::Error;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::transport::{TlsOptions, TlsSettings};

use super::credentials::file;
use super::input::{Input, expand};
use super::scripted::check_error;

const MARK: &[u8] = b"\xef\xbb\xbf";

struct Made {
    certificate: String,
    key: String,
    other_key: String,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["client.example".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["other.example".to_owned()]).unwrap();
    Made {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        other_key: other.signing_key.serialize_pem(),
    }
});

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte() % 3;
    let mut content =
        expand(input.piece(), &[&MADE.certificate, &MADE.key, &MADE.other_key].map(|text| text.as_bytes()));
    // Changes at places that the fuzzer chooses, since the texts differ in each process.
    while !input.is_empty() && !content.is_empty() {
        let (at, change) = (usize::from(input.u16()) % content.len(), input.byte());
        match change {
            0 => content.truncate(at),
            _ => content[at] ^= change,
        }
    }
    let (certificate, key) = (file(MADE.certificate.as_bytes()), file(MADE.key.as_bytes()));
    let read = |content: &[u8]| {
        let fuzzed = file(content);
        let path = Some(fuzzed.path().to_owned());
        let options = TlsOptions { system_roots: true, ..TlsOptions::default() };
        let pair = |certificate: Option<PathBuf>, key: Option<PathBuf>| TlsOptions {
            client_cert_file: certificate,
            client_key_file: key,
            ..options.clone()
        };
        let options = match kind {
            0 => TlsOptions { ca_file: path, system_roots: false, ..options },
            1 => pair(path, Some(key.path().to_owned())),
            _ => pair(Some(certificate.path().to_owned()), path),
        };
        let result = TlsSettings::load(&options).map(drop);
        result.inspect_err(|error| check(error, fuzzed.path(), content))
    };
    let result = read(&content);
    // A byte order mark at the start, and comments around the sections, change nothing.
    let plain = content.strip_prefix(MARK).unwrap_or(&content);
    assert_eq!(read(&[MARK, plain].concat()).is_ok(), result.is_ok());
    if result.is_ok() {
        let commented = [b"Subject: a comment\n\n", plain, b"\nthe end\n"].concat();
        assert!(read(&commented).is_ok());
    }
}

/// The error names the file, and shows no line of a key.
fn check(error: &Error, path: &Path, content: &[u8]) {
    let keys = [&MADE.key, &MADE.other_key].into_iter().flat_map(|key| key.lines());
    let lines: Vec<_> = keys.filter(|line| !line.starts_with('-')).collect();
    check_error(error, &lines);
    assert!(error.status == Status::PG_ERR_INVALID_PEM && error.text.contains("tls."), "{error}");
    assert!(error.text.contains(path.to_str().unwrap()), "{error}");
    let text = String::from_utf8_lossy(content);
    let long = text.lines().filter(|line| line.len() > 40 && !line.starts_with('-'));
    for line in long {
        assert!(!error.text.contains(line), "a line of the file is shown: {error}");
    }
}
