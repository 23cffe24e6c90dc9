//! The credentials of an account, in the vendor's format.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Error;

/// A `credentials.json`. The keys are real keys that protect nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// A UUID.
    pub account_id: String,
    /// A UUID.
    pub merchant_id: String,
    /// A UUID.
    pub project_id: String,
    /// A PEM file in base64. No call needs it.
    pub private_key: String,
    /// A PEM file in base64, which serves as the secret.
    pub public_key: String,
    /// Date and time.
    pub created_at: String,
    /// Always `sandbox`.
    pub realm: String,
}

impl Credentials {
    pub(crate) fn new() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        Ok(Self {
            account_id: Uuid::new_v4().to_string(),
            merchant_id: Uuid::new_v4().to_string(),
            project_id: Uuid::new_v4().to_string(),
            private_key: STANDARD.encode(key.serialize_pem()),
            public_key: STANDARD.encode(key.public_key_pem()),
            created_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            realm: "sandbox".into(),
        })
    }

    /// The same account with another key.
    pub(crate) fn with_new_key(&self) -> Result<Self, Error> {
        let Self { account_id, merchant_id, project_id, .. } = self.clone();
        Ok(Self { account_id, merchant_id, project_id, ..Self::new()? })
    }
}
