//! Faults: what fails, on which route, at which point and how often.

use std::collections::BTreeMap;

use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::route::Route;

/// One fault to inject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The route whose calls it strikes. Default: any.
    #[serde(default = "any")]
    pub route: Route,
    /// When it strikes. Default: `after` for `cut`, `body`, `set` and `remove`, else `before`.
    #[serde(default)]
    pub point: Option<Point>,
    /// How often it strikes; `null` is without limit. Default: once.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// How many calls pass before it strikes. Default: none.
    #[serde(default)]
    pub skip: u64,
    /// What happens.
    pub action: Action,
}

fn any() -> Route {
    Route::Any
}

fn once() -> Option<u64> {
    Some(1)
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// The connection was accepted, and no byte of it was read.
    Accept,
    /// The head of the request was read, and its body was not.
    Head,
    /// The whole request was read, and was not processed.
    Before,
    /// The request was processed, and the answer is not sent yet: an answer lost here leaves the rotation committed.
    After,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Another answer is sent.
    Status {
        /// Its status.
        status: u16,
        /// Its body: a text is sent unchanged, anything else as JSON. Default: an error in the API's format.
        #[serde(default)]
        body: Option<Value>,
        /// Its headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// A pause; then the call continues, with the next fault if there is one.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// The connection is reset.
    Reset,
    /// The connection is closed in order, without an answer.
    Close,
    /// This many bytes of the answer are sent, including its head; then the connection is reset.
    Cut {
        /// Bytes before encryption; in HTTP/2 those of the connection's frames.
        bytes: u64,
    },
    /// HTTP/2: the stream is reset with `REFUSED_STREAM`. HTTP/1.1, which has none: the connection is reset.
    RefuseStream,
    /// The answer's body is spoilt: at the point `after` the body of the regular answer, earlier an empty object.
    Body(Form),
    /// A field of the regular answer is set; the call continues.
    Set {
        /// Its name.
        field: String,
        /// Its value.
        value: Value,
    },
    /// A field of the regular answer is left out; the call continues.
    Remove {
        /// Its name.
        field: String,
    },
    /// The caller is redirected to the second host.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// No answer, until the connection ends.
    Hang,
}

/// How a body is spoilt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case", deny_unknown_fields)]
pub enum Form {
    /// JSON without its last byte.
    Malformed,
    /// The whole length is declared, and half of it is sent.
    Truncated,
    /// JSON of many mebibytes, generated piece by piece.
    Huge {
        /// Mebibytes.
        mib: u64,
    },
    /// One byte at a time.
    Dribbled {
        /// Milliseconds between two bytes.
        ms: u64,
    },
    /// The first text contains bytes that are not UTF-8.
    NonUtf8,
    /// A web page with status 200.
    Html,
    /// Compressed with gzip, although the request did not ask for it.
    Gzip,
    /// An empty body.
    Empty,
    /// The object inside an array.
    Array,
    /// Every field twice, first with a wrong value.
    DuplicateKey,
    /// A hundred thousand nested arrays.
    Deep,
}

impl Action {
    /// Whether it changes an answer, and so needs one.
    fn alters(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Set { .. } | Self::Remove { .. })
    }

    /// Whether the next fault at the same point strikes too.
    fn goes_on(&self) -> bool {
        matches!(self, Self::Delay { .. } | Self::Set { .. } | Self::Remove { .. })
    }
}

impl Fault {
    /// A fault that strikes once, at the default point of its action.
    pub fn new(route: Route, action: Action) -> Self {
        Self { route, point: None, times: Some(1), skip: 0, action }
    }

    /// Strikes at this point.
    pub fn at(self, point: Point) -> Self {
        Self { point: Some(point), ..self }
    }

    /// Strikes this many times.
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Strikes without limit.
    pub fn forever(self) -> Self {
        Self { times: None, ..self }
    }

    /// Lets this many calls pass first.
    pub fn skip(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    fn settled(self) -> Result<Self, Error> {
        let bad = |reason: &str| Err(Error::BadFault(reason.into()));
        let late = self.action.alters() || matches!(self.action, Action::Body(_));
        let natural = if late { Point::After } else { Point::Before };
        let point = self.point.unwrap_or(natural);
        if point == Point::Accept {
            if self.route != Route::Any {
                return bad("at the point `accept` no route is known yet: it must be `any`");
            }
            if !matches!(self.action, Action::Reset | Action::Close | Action::Hang | Action::Delay { .. }) {
                return bad("at the point `accept` there is `reset`, `close`, `hang` and `delay` only");
            }
        }
        match &self.action {
            action if action.alters() && point != Point::After => {
                bad("`cut`, `set` and `remove` alter the honest answer: their point is `after`")
            }
            Action::Status { status, .. } if !(200..=599).contains(status) => {
                bad("`status` is a number from 200 to 599")
            }
            Action::Status { headers, .. } if !headers.iter().all(is_header) => {
                bad("a header is not one that HTTP can carry")
            }
            Action::Redirect { status } if !matches!(status, 301 | 302 | 303 | 307 | 308) => {
                bad("the `status` of a redirect is 301, 302, 303, 307 or 308")
            }
            _ => Ok(Self { point: Some(point), ..self }),
        }
    }
}

fn is_header((name, value): (&String, &String)) -> bool {
    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
}

/// The faults that have not struck yet, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault and returns it with its point.
    pub(crate) fn add(&mut self, fault: Fault) -> Result<Fault, Error> {
        let fault = fault.settled()?;
        self.0.push(fault.clone());
        Ok(fault)
    }

    pub(crate) fn all(&self) -> &[Fault] {
        &self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes the first fault with this route, point and action, however often it would still strike.
    pub(crate) fn withdraw(&mut self, fault: Fault) -> Result<(), Error> {
        let fault = fault.settled()?;
        let found = self.0.iter().position(|other| {
            (other.route, other.point, &other.action) == (fault.route, fault.point, &fault.action)
        });
        found.map(|index| self.0.remove(index));
        Ok(())
    }

    /// The faults that strike now: the first one that fits, and the next ones while each lets the call continue.
    pub(crate) fn strike(&mut self, route: Route, point: Point) -> Vec<Action> {
        let mut actions = Vec::new();
        for fault in &mut self.0 {
            if !fault.route.covers(route) || fault.point != Some(point) || fault.times == Some(0) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times = fault.times.map(|times| times - 1);
            actions.push(fault.action.clone());
            if !fault.action.goes_on() {
                break;
            }
        }
        self.0.retain(|fault| fault.times != Some(0));
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault(json: Value) -> Fault {
        serde_json::from_value::<Fault>(json).unwrap().settled().unwrap()
    }

    #[test]
    fn json_forms_are_read_and_written() {
        for action in [
            json!({"kind": "status", "status": 503, "body": {"a": 1}, "headers": {"retry-after": "3"}}),
            json!({"kind": "delay", "ms": 5}),
            json!({"kind": "reset"}),
            json!({"kind": "cut", "bytes": 17}),
            json!({"kind": "refuse_stream"}),
            json!({"kind": "body", "form": "malformed"}),
            json!({"kind": "body", "form": "huge", "mib": 64}),
            json!({"kind": "body", "form": "dribbled", "ms": 1}),
            json!({"kind": "body", "form": "non_utf8"}),
            json!({"kind": "set", "field": "expires_in", "value": null}),
            json!({"kind": "remove", "field": "access_token"}),
            json!({"kind": "redirect", "status": 307}),
            json!({"kind": "hang"}),
        ] {
            assert_eq!(serde_json::to_value(fault(json!({"action": action})).action).unwrap(), action);
        }
    }

    #[test]
    fn defaults_suit_the_action() {
        let reset = fault(json!({"action": {"kind": "reset"}}));
        assert_eq!((reset.route, reset.point, reset.times), (Route::Any, Some(Point::Before), Some(1)));
        let set = fault(json!({"action": {"kind": "set", "field": "a", "value": 1}, "times": null}));
        assert_eq!((set.point, set.times), (Some(Point::After), None));
    }

    #[test]
    fn nonsense_is_refused() {
        for json in [
            json!({"action": {"kind": "body", "form": "huge"}}),
            json!({"action": {"kind": "reset"}, "when": "after"}),
            json!({"action": {"kind": "set", "field": "a"}}),
            json!({"action": {"kind": "cut", "bytes": 1}, "point": "before"}),
            json!({"action": {"kind": "redirect", "status": 200}}),
            json!({"action": {"kind": "status", "status": 99}}),
            json!({"action": {"kind": "status", "status": 500, "headers": {"a b": "c"}}}),
            json!({"action": {"kind": "reset"}, "point": "accept", "route": "issue"}),
            json!({"action": {"kind": "redirect", "status": 302}, "point": "accept"}),
        ] {
            let read = serde_json::from_value::<Fault>(json.clone());
            assert!(read.is_err() || read.unwrap().settled().is_err(), "{json}");
        }
    }

    #[test]
    fn one_of_two_equal_faults_is_withdrawn() {
        let mut faults = Faults::default();
        let fault = || Fault::new(Route::Issue, Action::Reset);
        faults.add(fault().forever()).unwrap();
        faults.add(fault()).unwrap();
        faults.withdraw(fault()).unwrap();
        assert_eq!(faults.all(), [fault().at(Point::Before)]);
        faults.withdraw(Fault::new(Route::Issue, Action::Hang)).unwrap();
        assert_eq!(faults.all().len(), 1);
    }

    #[test]
    fn faults_strike_in_order_and_run_out() {
        let mut faults = Faults::default();
        let status = |status| Action::Status { status, body: None, headers: BTreeMap::new() };
        faults.add(Fault::new(Route::Issue, status(500)).skip(1)).unwrap();
        faults.add(Fault::new(Route::Any, Action::Delay { ms: 1 }).times(2)).unwrap();
        faults.add(Fault::new(Route::Issue, status(503))).unwrap();
        let mut strike = || faults.strike(Route::Issue, Point::Before);
        assert_eq!(strike(), [Action::Delay { ms: 1 }, status(503)]);
        assert_eq!(strike(), [status(500)]);
        assert_eq!(strike(), [Action::Delay { ms: 1 }]);
        assert_eq!(strike(), []);
        assert!(faults.all().is_empty());
    }
}
