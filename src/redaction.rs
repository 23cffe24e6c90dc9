//! No secret in a text that others have written: a service, a store or a host may repeat what it has received, whole or in
//! part, and a user may confuse two settings.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::ops::Range;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::value::Value;

use crate::secret::{Secret, Wiped};

/// So many letters in a row are removed wherever a secret has the same ones. A shorter secret is removed as a whole.
const LEAST: usize = 16;
const REMOVED: &str = "[redacted]";
/// Fields of an answer whose values are secret, also where they are not ours; without `_` and `-`.
const SECRET_FIELDS: [&str; 4] = ["accesstoken", "refreshtoken", "publickey", "authorization"];

/// Removes some secrets and their parts from texts, also where they have white space, backslashes, percent-coding or
/// JSON's escapes between or for their letters, or another case. It is made once for all texts of an error.
#[derive(Default)]
pub struct Redactor {
    /// The hashes of runs of letters in the secrets.
    runs: HashSet<u64>,
    /// How many letters those runs have.
    lengths: BTreeSet<usize>,
    has_digits: bool,
}

impl Redactor {
    /// Of secrets, and of the keys in those that are public keys.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut redactor = Redactor::default();
        for secret in secrets {
            redactor.add(secret.expose());
            if let Some(key) = key_in_pem(secret) {
                redactor.add(&key);
            }
        }
        redactor
    }

    /// Of a secret in any form.
    pub(crate) fn of_text(secret: &str) -> Self {
        let mut redactor = Redactor::default();
        redactor.add(secret);
        redactor
    }

    fn add(&mut self, secret: &str) {
        // A percent sign in front of a secret may belong to it, or not.
        for decodes in [false, true] {
            let letters = Letters::of(secret, decodes).letters;
            let length = letters.len().min(LEAST);
            if length > 0 {
                self.lengths.insert(length);
                let hasher = self.runs.hasher().clone();
                self.runs.extend(letters.windows(length).map(|run| hasher.hash_one(run)));
            }
        }
        self.has_digits |= secret.bytes().all(|byte| byte.is_ascii_digit());
    }

    /// The text without the secrets.
    pub fn text(&self, text: String) -> String {
        let mut found = self.parts(&text);
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

    /// Where the text has a part of a secret.
    fn parts(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for decodes in [false, true] {
            let Letters { letters, places } = Letters::of(text, decodes);
            for length in &self.lengths {
                let ends = places.iter().zip(places.iter().skip(length - 1));
                let runs = letters.windows(*length).zip(ends);
                let known = runs.filter(|(run, _)| self.runs.contains(&self.runs.hasher().hash_one(run)));
                found.extend(known.map(|(_, (first, last))| first.start..last.end));
            }
        }
        found
    }

    /// The JSON without the secrets, even those that are hidden by escapes; `None` if that is not certain.
    pub(crate) fn json(&self, json: &str) -> Option<String> {
        let raw = self.text(json.to_owned());
        // Without escapes a text is as it looks. A number that held a secret is no number any more.
        if !json.contains('\\') && serde_json::from_str::<Value>(&raw).is_ok() && !has_secret_field(json) {
            return Some(raw);
        }
        let plain = self.value(serde_json::from_str(json).ok()?).to_string();
        (self.text(plain.clone()) == plain).then_some(plain)
    }

    /// Removes the secrets from texts, keys and numbers. What is left is still JSON.
    pub(crate) fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, field)| {
                    let field = if has_secret_field(&key) { without_tokens(field) } else { field };
                    (self.text(key), self.value(field))
                })
                .collect(),
            Value::Number(number) => {
                let text = number.to_string();
                // A long number has been rounded, and shows the most of its digits.
                let is_rounded = number.is_f64() && self.has_digits;
                if is_rounded || !self.parts(&text).is_empty() { REMOVED.into() } else { number.into() }
            }
            Value::Null | Value::Bool(_) => value,
        }
    }
}

/// The letters of a text that are compared, and their places in it.
struct Letters {
    letters: Wiped<Vec<char>>,
    places: Vec<Range<usize>>,
}

impl Letters {
    /// `decodes`: also percent-coding, and the escapes of JSON.
    fn of(text: &str, decodes: bool) -> Self {
        // Of the final size: a buffer that grows leaves a copy.
        let (mut letters, mut places) = (Wiped::new(Vec::with_capacity(text.len())), Vec::new());
        let mut rest = text.char_indices();
        while let Some((start, letter)) = rest.next() {
            let mut letter = letter;
            if let Some((decoded, length)) = text.get(start..).filter(|_| decodes).and_then(decoded) {
                letter = decoded;
                rest.nth(length - 2);
            }
            if !letter.is_whitespace() && !letter.is_control() && letter != '\\' {
                letters.push(letter.to_ascii_lowercase());
                places.push(start..rest.offset());
            }
        }
        Letters { letters, places }
    }
}

/// The letter that a text begins with if it is coded, and the length of its code.
fn decoded(text: &str) -> Option<(char, usize)> {
    let of = |code: &str| u32::from_str_radix(code, 16).ok().and_then(char::from_u32);
    match text.as_bytes().first()? {
        b'%' => Some((of(text.get(1..3)?)?, 3)),
        b'\\' if text[1..].starts_with('u') => Some((of(text.get(2..6)?)?, 6)),
        _ => None,
    }
}

/// The vendor's form of a public key is base64 of a PEM. In the PEM the key is base64 once more.
fn key_in_pem(secret: &Secret) -> Option<Wiped<String>> {
    let bytes = STANDARD_NO_PAD.decode(secret.expose().trim_end_matches('=')).ok().map(Wiped::new)?;
    let key = std::str::from_utf8(&bytes).ok()?.split("-----").nth(2)?;
    Some(Wiped::new(key.to_owned()))
}

/// The value of a field that holds secrets: other texts say what is wrong with it, and stay.
fn without_tokens(value: Value) -> Value {
    match value {
        Value::String(text) if text.split_whitespace().any(|word| word.len() >= LEAST) => REMOVED.into(),
        Value::Array(items) => items.into_iter().map(without_tokens).collect(),
        other => other,
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
    if text.contains(['{', '\u{feff}']) || text.contains("-----BEGIN") || text.contains(char::is_control) {
        return "[the content of a file, where its path is expected]".into();
    }
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=-_:,".contains(c);
    let has_all_kinds =
        [char::is_lowercase, char::is_uppercase, char::is_numeric].iter().all(|is| text.contains(is));
    let may_be_key = text.len() >= 40 && text.chars().all(is_base64) && has_all_kinds;
    if may_be_key || text.starts_with("eyJ") {
        // A long path can look like a key. Its start is enough to recognize it.
        return format!("{}… ({} characters)", text.chars().take(LEAST - 1).collect::<String>(), text.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";
    /// base64 of a PEM with two lines.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOC\nAQ8AMIIBCgKCAQEAu1SU1LfVLPHC\n-----END PUBLIC KEY-----\n";

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn clean(text: &str, secret_text: &str) -> String {
        Redactor::new([&secret(secret_text)]).text(text.into())
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
        let escaped = TOKEN.replace('.', "\\u002E");
        assert_eq!(clean(&format!("<{escaped}>"), TOKEN), "<[redacted]>");
        assert_eq!(clean("as p%40SSw0rd%21x in a URL", "p@ssw0rd!x"), "as [redacted] in a URL");
        assert_eq!(clean("ends in %2", TOKEN), "ends in %2");
        assert_eq!(clean("ends in \\u00", TOKEN), "ends in \\u00");
        assert_eq!(clean("é%é", TOKEN), "é%é");
    }

    #[test]
    fn a_secret_within_another_one_does_not_save_the_rest() {
        let [short, long] = [secret("tok"), secret("tok.and-its-longer-tail")];
        for secrets in [[&short, &long], [&long, &short]] {
            let clean = Redactor::new(secrets).text("<tok.and-its-longer-tail> tok".into());
            assert_eq!(clean, "<[redacted]> [redacted]");
        }
    }

    #[test]
    fn the_key_in_a_pem_is_taken_out_too() {
        let told = "bad PEM: -----BEGIN PUBLIC KEY----- MIIBIjANBgkqhkiG9w0BAQEFAAOC AQ8AMIIBCgKCAQEAu1SU1LfVLPHC -----END";
        let clean_text = "bad PEM: -----BEGIN PUBLIC KEY----- [redacted] -----END";
        for pem in [PEM.to_owned(), PEM.replace('\n', " "), format!("Our key:\n{PEM}")] {
            let key = STANDARD.encode(pem);
            assert_eq!(clean(told, &key), clean_text);
            assert_eq!(clean(told, key.trim_end_matches('=')), clean_text);
        }
    }

    #[test]
    fn json_stays_json_without_the_digits_of_a_token() {
        let json = |json: &str, token: &str| Redactor::new([&secret(token)]).json(json).unwrap();
        let digits = "1234567890123456789012";
        assert_eq!(json(&format!(r#"{{"n":{digits},"m":1}}"#), digits), r#"{"m":1,"n":"[redacted]"}"#);
        assert_eq!(json(r#"{"b":1,"a":1.5}"#, TOKEN), r#"{"b":1,"a":1.5}"#);
    }

    #[test]
    fn a_pair_in_an_error_is_taken_out_and_words_on_a_field_stay() {
        let json = |json: &str| Redactor::default().json(json).unwrap();
        assert_eq!(
            json(r#"{"access_token":"a2-which-nobody-knows","refreshToken":"r2-which-nobody-knows","n":1}"#),
            r#"{"access_token":"[redacted]","n":1,"refreshToken":"[redacted]"}"#
        );
        assert_eq!(
            json(r#"{"Authorization":["Bearer a2-which-nobody-knows"],"b":"Basic b2-which-nobody-knows"}"#),
            r#"{"Authorization":["[redacted]"],"b":"Basic b2-which-nobody-knows"}"#
        );
        let words = r#"{"public_key":["must be base64 of a PEM"]}"#;
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
            "/home/user/Projects/Payments/2026/credentials.json",
        ] {
            assert_eq!(path_text(Path::new(path)), path);
        }
        for content in [r#"{"account_id":"x"}"#, PEM] {
            assert!(path_text(Path::new(content)).starts_with("[the content"), "{content}");
        }
        let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        for content in [key, &key.replace("MDE", "/DE"), &STANDARD.encode(PEM), TOKEN] {
            let shown = path_text(Path::new(content));
            assert_eq!(shown, format!("{}… ({} characters)", &content[..15], content.len()));
        }
    }
}
