//! Makes tokens, and their fingerprints.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::switches::Switches;

/// Signs access tokens as JWTs. A JWT library would add RSA and three curves for one HMAC.
pub(crate) struct Signer(hmac::Key);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, random_text().as_bytes()))
    }

    /// An access token that differs from every other one, even within one second.
    pub(crate) fn access_token(&self, switches: &Switches, account: &str, now: u64) -> String {
        if switches.opaque_access_token {
            return random_text();
        }
        let issued = now / 1000;
        let mut claims = json!({"sub": account, "jti": Uuid::new_v4().to_string()});
        if switches.jwt_iat {
            claims["iat"] = json!(issued);
        }
        if switches.jwt_exp {
            claims["exp"] = json!(issued.saturating_add(switches.access_lifetime_s));
        }
        let token = self.sign(&claims);
        // Three bytes of JSON become four of the token; the claim's name and quotes are nine.
        let missing = (switches.access_token_bytes.saturating_sub(token.len()) * 3 / 4).saturating_sub(9);
        if missing == 0 {
            return token;
        }
        claims["pad"] = json!("x".repeat(missing));
        self.sign(&claims)
    }

    fn sign(&self, claims: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// A long random text: a refresh token, or an access token that is not a JWT.
pub(crate) fn random_text() -> String {
    (0..4).map(|_| Uuid::new_v4().simple().to_string()).collect()
}

/// The first 64 bits of a token's SHA-256 in hexadecimal.
pub fn fingerprint(token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(token: &str) -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    #[test]
    fn a_token_carries_its_claims_and_a_true_signature() {
        let signer = Signer::new();
        let token = signer.access_token(&Switches::default(), "account", 5_000);
        assert_eq!(claims(&token)["sub"], "account");
        assert_eq!(claims(&token)["iat"], 5);
        assert_eq!(claims(&token)["exp"], 3605);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        hmac::verify(&signer.0, signed.as_bytes(), &signature).unwrap();
        assert_ne!(token, signer.access_token(&Switches::default(), "account", 5_000));
    }

    #[test]
    fn a_token_can_be_padded() {
        for bytes in [400, 700, 4000] {
            let switches = Switches { access_token_bytes: bytes, ..Switches::default() };
            let token = Signer::new().access_token(&switches, "account", 5_000);
            assert!(token.len().abs_diff(bytes) <= 4, "{} instead of {bytes}", token.len());
            assert_eq!(claims(&token)["exp"], 3605);
        }
        let short = Switches { access_token_bytes: 20, ..Switches::default() };
        assert!(claims(&Signer::new().access_token(&short, "account", 0)).get("pad").is_none());
    }

    #[test]
    fn claims_can_be_left_out() {
        let switches = Switches { jwt_exp: false, jwt_iat: false, ..Switches::default() };
        let claims = claims(&Signer::new().access_token(&switches, "account", 0));
        assert!(claims.get("exp").is_none() && claims.get("iat").is_none());
        let switches = Switches { opaque_access_token: true, ..Switches::default() };
        assert!(!Signer::new().access_token(&switches, "account", 0).contains('.'));
    }

    #[test]
    fn a_fingerprint_is_the_start_of_sha256() {
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea");
    }
}
