//! No secret in a text that others have written: a service, a store or a host may repeat what it has received, whole or in
//! part, and a user may confuse two settings.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::Value;

use crate::secret::{Secret, Wiped};

/// So many characters in a row are removed wherever a secret has the same ones. A shorter secret is removed as a whole.
const LEAST: usize = 16;
const REMOVED: &str = "[redacted]";
/// Fields of an answer whose values are secret, also where they are not ours; without `_` and `-`.
const SECRET_FIELDS: [&str; 4] = ["accesstoken", "refreshtoken", "publickey", "authorization"];

/// Removes the secrets and their parts from a text, also where it has white space, backslashes or percent-coding between
/// their characters, or another case.
pub fn redact(text: String, secrets: &[&Secret]) -> String {
    let keys: Vec<_> = secrets.iter().filter_map(|secret| key_in_pem(secret)).collect();
    let secrets = secrets.iter().copied().chain(&keys).map(Secret::expose);
    redact_parts(text, secrets)
}

/// Like [`redact`], for secrets in any form.
pub(crate) fn redact_parts<'a>(text: String, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut found: Vec<_> = secrets.into_iter().flat_map(|secret| parts(&text, secret)).collect();
    if found.is_empty() {
        return text;
    }
    found.sort_unstable_by_key(|part| part.start);
    let text = Wiped::new(text);
    let mut clean = String::new();
    let mut end = 0;
    for part in found {
        if part.start > end || clean.is_empty() {
            clean += text.get(end..part.start).unwrap_or_default();
            clean += REMOVED;
        }
        end = end.max(part.end);
    }
    clean + text.get(end..).unwrap_or_default()
}

/// Where the text has a part of the secret.
fn parts(text: &str, secret: &str) -> Vec<Range<usize>> {
    if Letters::of(secret, false).letters.len() < LEAST {
        return text.match_indices(secret).map(|(start, part)| start..start + part.len()).collect();
    }
    // A percent sign in front of a secret may belong to it, or not.
    [false, true].into_iter().flat_map(|decodes| common_runs(text, secret, decodes)).collect()
}

fn common_runs(text: &str, secret: &str, decodes: bool) -> Vec<Range<usize>> {
    let wanted = Letters::of(secret, decodes);
    let windows: HashSet<_> = wanted.letters.windows(LEAST).collect();
    let Letters { letters, places } = Letters::of(text, decodes);
    let ends = places.iter().zip(places.iter().skip(LEAST - 1));
    let found = letters.windows(LEAST).zip(ends).filter(|(window, _)| windows.contains(window));
    found.map(|(_, (first, last))| first.start..last.end).collect()
}

/// The letters of a text that are compared, and their places in it.
struct Letters {
    letters: Wiped<Vec<char>>,
    places: Vec<Range<usize>>,
}

impl Letters {
    /// `decodes`: also percent-coding.
    fn of(text: &str, decodes: bool) -> Self {
        // Of the final size: a buffer that grows leaves a copy.
        let (mut letters, mut places) = (Wiped::new(Vec::with_capacity(text.len())), Vec::new());
        let mut rest = text.char_indices();
        while let Some((start, letter)) = rest.next() {
            let mut letter = letter;
            if let Some(coded) = text.get(start + 1..start + 3).filter(|_| decodes && letter == '%')
                && let Ok(byte) = u8::from_str_radix(coded, 16)
            {
                letter = byte.into();
                rest.nth(1);
            }
            if !letter.is_whitespace() && !letter.is_control() && letter != '\\' {
                letters.push(letter.to_ascii_lowercase());
                places.push(start..rest.offset());
            }
        }
        Letters { letters, places }
    }
}

/// The vendor's form of a public key is base64 of a PEM. In the PEM the key is base64 once more.
fn key_in_pem(secret: &Secret) -> Option<Secret> {
    let pem = Wiped::new(String::from_utf8(STANDARD.decode(secret.expose()).ok()?).ok()?);
    if !pem.starts_with("-----BEGIN ") {
        return None;
    }
    let length = pem.len();
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let mut key = Wiped::new(String::with_capacity(length));
    lines.for_each(|line| key.push_str(line));
    Secret::new(&key)
}

/// Removes secrets from JSON, even those that are hidden by escapes; `None` if that is not certain.
pub(crate) fn redact_json(json: &str, secrets: &[&Secret]) -> Option<String> {
    let raw = redact(json.to_owned(), secrets);
    // Without escapes a text is as it looks. A number that held a secret is no number any more.
    if !json.contains('\\') && serde_json::from_str::<Value>(&raw).is_ok() && !has_secret_field(json) {
        return Some(raw);
    }
    let plain = redact_value(serde_json::from_str(json).ok()?, secrets).to_string();
    (redact(plain.clone(), secrets) == plain).then_some(plain)
}

/// Removes secrets from texts, keys and numbers. What is left is still JSON.
pub(crate) fn redact_value(value: Value, secrets: &[&Secret]) -> Value {
    match value {
        Value::String(text) => redact(text, secrets).into(),
        Value::Array(items) => items.into_iter().map(|item| redact_value(item, secrets)).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, field)| {
                // Another text says what is wrong with the field.
                let is_token = |text: &str| text.len() >= LEAST && !text.contains(char::is_whitespace);
                let field = match field.as_str() {
                    Some(text) if has_secret_field(&key) && is_token(text) => REMOVED.into(),
                    _ => redact_value(field, secrets),
                };
                (redact(key, secrets), field)
            })
            .collect(),
        Value::Number(number) => {
            let text = number.to_string();
            let plain = redact(text.clone(), secrets);
            // A long number has been rounded, and shows the most of its digits.
            let is_digits = |secret: &&Secret| secret.expose().bytes().all(|byte| byte.is_ascii_digit());
            let is_rounded = number.is_f64() && secrets.iter().any(is_digits);
            if plain != text || is_rounded { REMOVED.into() } else { number.into() }
        }
        Value::Null | Value::Bool(_) => value,
    }
}

fn has_secret_field(text: &str) -> bool {
    let letters = text.chars().filter(char::is_ascii_alphanumeric);
    let plain: Wiped<String> = Wiped::new(letters.map(|letter| letter.to_ascii_lowercase()).collect());
    SECRET_FIELDS.iter().any(|field| plain.contains(field))
}

/// A path in the form in which an error may show it. A user may have given the content of the file in its place.
pub fn path_text(path: &Path) -> String {
    let text = path.display().to_string();
    let is_base64 =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_' | ':' | ',');
    // Base64 may have slashes too, but a key of 32 bytes ends in `=`, and a PEM begins with `LS0t`.
    let is_path =
        text.starts_with('/') || (text.contains('/') && !text.contains('=') && !text.starts_with("LS0t"));
    let is_key = text.len() >= 40 && !is_path && text.chars().all(is_base64);
    if is_key
        || text.contains(['{', '\u{feff}'])
        || text.contains("-----BEGIN")
        || text.contains(char::is_control)
    {
        return "[the content of a file, where its path is expected]".into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";
    /// base64 of a PEM with two lines.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOC\nAQ8AMIIBCgKCAQEAu1SU1LfVLPHC\n-----END PUBLIC KEY-----\n";

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn clean(text: &str, secret_text: &str) -> String {
        redact(text.into(), &[&secret(secret_text)])
    }

    #[test]
    fn an_echo_is_taken_out() {
        assert_eq!(clean("bad token hunter2!", "hunter2"), "bad token [redacted]!");
        assert_eq!(clean(&format!("a {TOKEN} b {TOKEN}"), TOKEN), "a [redacted] b [redacted]");
        assert_eq!(clean(TOKEN, TOKEN), "[redacted]");
        assert_eq!(clean("nothing of it", TOKEN), "nothing of it");
    }

    #[test]
    fn a_part_of_16_characters_is_taken_out_and_less_says_nothing() {
        for (start, end) in [(0, 16), (20, 50), (TOKEN.len() - 16, TOKEN.len())] {
            assert_eq!(clean(&format!("'{}…'", &TOKEN[start..end]), TOKEN), "'[redacted]…'");
        }
        let short = format!("'{}…'", &TOKEN[..15]);
        assert_eq!(clean(&short, TOKEN), short);
    }

    #[test]
    fn an_echo_in_another_form_is_taken_out() {
        let broken = format!("{}\n  {}", &TOKEN[..30], &TOKEN[30..]);
        let escaped = TOKEN.replace('.', "\\.");
        let coded = TOKEN.replace('.', "%2E").replace('_', "%5f");
        for text in [broken, escaped, coded, TOKEN.to_uppercase()] {
            assert_eq!(clean(&format!("<{text}>"), TOKEN), "<[redacted]>");
        }
        let hex = "41bcdefghijklmno";
        assert_eq!(clean(&format!("%{hex}"), hex), "%[redacted]");
        assert_eq!(clean("ends in %2", TOKEN), "ends in %2");
        assert_eq!(clean("é%é", TOKEN), "é%é");
    }

    #[test]
    fn a_secret_within_another_one_does_not_save_the_rest() {
        let [short, long] = [secret("tok"), secret("tok.and-its-longer-tail")];
        for secrets in [[&short, &long], [&long, &short]] {
            assert_eq!(redact("<tok.and-its-longer-tail> tok".into(), &secrets), "<[redacted]> [redacted]");
        }
    }

    #[test]
    fn the_key_in_a_pem_is_taken_out_too() {
        let key = STANDARD.encode(PEM);
        let told = "bad PEM: -----BEGIN PUBLIC KEY----- MIIBIjANBgkqhkiG9w0BAQEFAAOC AQ8AMIIBCgKCAQEAu1SU1LfVLPHC -----END";
        assert_eq!(clean(told, &key), "bad PEM: -----BEGIN PUBLIC KEY----- [redacted] -----END");
    }

    #[test]
    fn json_stays_json_without_the_digits_of_a_token() {
        let json = |json: &str, token: &str| redact_json(json, &[&secret(token)]).unwrap();
        let digits = "1234567890123456789012";
        assert_eq!(json(&format!(r#"{{"n":{digits},"m":1}}"#), digits), r#"{"m":1,"n":"[redacted]"}"#);
        assert_eq!(json(r#"{"b":1,"a":1.5}"#, TOKEN), r#"{"b":1,"a":1.5}"#);
    }

    #[test]
    fn a_pair_in_an_error_is_taken_out_and_words_on_a_field_stay() {
        let json = |json: &str| redact_json(json, &[]).unwrap();
        assert_eq!(
            json(r#"{"access_token":"a2-which-nobody-knows","refreshToken":"r2-which-nobody-knows","n":1}"#),
            r#"{"access_token":"[redacted]","n":1,"refreshToken":"[redacted]"}"#
        );
        let words = r#"{"public_key":"must be base64 of a PEM"}"#;
        assert_eq!(json(words), words);
    }

    #[test]
    fn a_path_is_shown_and_what_should_be_in_the_file_is_not() {
        for path in [
            "/run/secrets/key",
            "key.pem",
            "./credentials.json",
            "/very/long/path/to/the/folder/of/the/key",
            "secrets/production/paymentsgate/store_key_file",
        ] {
            assert_eq!(path_text(Path::new(path)), path);
        }
        for content in [
            r#"{"account_id":"x"}"#,
            PEM,
            "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            &STANDARD.encode(PEM),
        ] {
            assert!(path_text(Path::new(content)).starts_with("[the content"), "{content}");
        }
    }
}
