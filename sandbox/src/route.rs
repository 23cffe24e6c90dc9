//! The routes of the API, with the names that faults and counters use.

use serde::{Deserialize, Serialize};

/// One kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// `POST /auth/token`
    Issue,
    /// `POST /auth/token/refresh`
    Refresh,
    /// `GET /wallet`
    Wallet,
    /// `GET /deals/{id}` and `GET /deals/{id}/credentials`
    Deal,
    /// `POST /deals/payin`
    Payin,
    /// `GET /fx/calculation`; the vendor's SDK calls it `/fx/calculatenew`
    Fx,
    /// Any other path
    Other,
    /// In a fault: every route
    Any,
}

impl Route {
    /// The route of a method and a path.
    pub fn of(method: &str, path: &str) -> Self {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, segments.as_slice()) {
            ("POST", ["auth", "token"]) => Self::Issue,
            ("POST", ["auth", "token", "refresh"]) => Self::Refresh,
            ("GET", ["wallet"]) => Self::Wallet,
            ("POST", ["deals", "payin"]) => Self::Payin,
            ("GET", ["deals", _] | ["deals", _, "credentials"]) => Self::Deal,
            ("GET", ["fx", "calculation" | "calculatenew"]) => Self::Fx,
            _ => Self::Other,
        }
    }

    pub(crate) fn covers(self, other: Self) -> bool {
        self == Self::Any || self == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_finds_its_route() {
        assert_eq!(Route::of("POST", "/auth/token"), Route::Issue);
        assert_eq!(Route::of("POST", "/auth/token/refresh"), Route::Refresh);
        assert_eq!(Route::of("GET", "/deals/7"), Route::Deal);
        assert_eq!(Route::of("GET", "/deals/7/credentials"), Route::Deal);
        assert_eq!(Route::of("GET", "/auth/token"), Route::Other);
        assert_eq!(Route::of("GET", "/deals/7/else"), Route::Other);
    }
}
