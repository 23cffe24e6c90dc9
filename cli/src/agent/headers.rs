//! Which headers a proxy passes on (RFC 9110, 7.6.1).

use hyper::HeaderMap;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use super::answer::AGENT_ERROR;

/// Headers about one connection, beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What the library sets itself. The length is that of the body.
const OWN: [HeaderName; 4] = [AUTHORIZATION, CONTENT_LENGTH, EXPECT, HOST];

/// Leaves in a request what the service is to see.
pub(super) fn of_request(headers: &mut HeaderMap) {
    without_hop_by_hop(headers);
    OWN.iter().for_each(|name| drop(headers.remove(name)));
}

/// Leaves in an answer what the caller is to see.
pub(super) fn of_answer(headers: &mut HeaderMap) {
    without_hop_by_hop(headers);
    headers.remove(AGENT_ERROR);
}

fn without_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    named.iter().chain(&HOP_BY_HOP).for_each(|name| drop(headers.remove(name)));
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn what_concerns_one_connection_ends_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret-Hop"),
            ("connection", "x-other, \u{ff}"),
            ("x-secret-hop", "1"),
            ("x-other", "2"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("host", "localhost:8080"),
            ("authorization", "Bearer the-callers-own"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
            ("content-length", "3"),
            ("x-kept", "a"),
            ("x-kept", "b"),
            ("content-type", "application/json"),
        ] {
            headers.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        of_request(&mut headers);
        let left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("x-kept", "a"), ("x-kept", "b"), ("content-type", "application/json")]);
    }

    #[test]
    fn an_answer_keeps_its_length_and_cannot_pass_for_the_agents_own() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, 3.into());
        headers.insert(TRANSFER_ENCODING, "chunked".parse().unwrap());
        headers.insert(AGENT_ERROR, "forged".parse().unwrap());
        of_answer(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
