//! One request from its head to its end: faults, the decision, and more faults.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::DATE;
use hyper::{Method, Request, Response, Version};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::answer::Answer;
use crate::call::Call;
use crate::deals::http_date;
use crate::fault::{Action, Form, Point};
use crate::journal::Entry;
use crate::reply::{self, Reply};
use crate::route::Route;
use crate::switches::DateHeader;
use crate::wire::{Control, Ending};
use crate::world::Shared;

const LARGEST_BODY: usize = 1 << 20;

/// The service behind every port.
#[derive(Clone)]
pub(crate) struct Service {
    shared: Arc<Shared>,
    /// The target of redirects.
    foreign: Arc<str>,
}

/// How a request ends, and the name of that in the counters.
struct Verdict {
    outcome: String,
    end: End,
}

enum End {
    Answer(Response<Reply>),
    Cut(Response<Reply>, u64),
    Connection(Ending),
    RefuseStream,
    Hang,
}

impl Service {
    pub(crate) fn new(shared: Arc<Shared>, foreign: &str) -> Self {
        Self { shared, foreign: foreign.into() }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Answers a request, or ends its stream or connection.
    pub(crate) async fn call(
        self,
        request: Request<Incoming>,
        control: Arc<Control>,
    ) -> Result<Response<Reply>, h2::Error> {
        control.lift_limit();
        let version = request.version();
        let is_head = request.method() == Method::HEAD;
        let verdict = self.verdict(request).await?;
        match verdict.end {
            End::Answer(response) if is_head => Ok(reply::without_body(response)),
            End::Answer(response) => Ok(response),
            End::Cut(response, bytes) => {
                control.cut_after(bytes);
                Ok(response)
            }
            End::RefuseStream if version == Version::HTTP_2 => Err(Reason::REFUSED_STREAM.into()),
            End::RefuseStream => end_connection(&control, Ending::Reset).await,
            End::Connection(ending) => end_connection(&control, ending).await,
            End::Hang => pending().await,
        }
    }

    async fn verdict(self, request: Request<Incoming>) -> Result<Verdict, h2::Error> {
        let (head, body) = request.into_parts();
        let call = Call::new(&head, &[]);
        let route = Route::of(&call.method, &call.path);
        self.shared.lock().counted.arrived(route, call.clone());
        if let Some(verdict) = self.strike(Point::Head, route, &call, &mut stand_in()).await {
            let mut world = self.shared.lock();
            let entry = Entry::new(route, &call, world.now());
            world.end(route, entry, &verdict.outcome);
            return Ok(verdict);
        }
        let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
            let mut world = self.shared.lock();
            let entry = Entry::new(route, &call, world.now());
            world.end(route, entry, "unread");
            return Err(Reason::CANCEL.into());
        };
        let call = with_body(call, &body.to_bytes());
        // A task of its own, so that a request that was read is processed even if its sender has left.
        let task = tokio::spawn(async move {
            let mut entry = {
                let mut world = self.shared.lock();
                world.enter(route, &call);
                Entry::new(route, &call, world.now())
            };
            let verdict = self.judge(route, &call, &mut entry).await;
            let mut world = self.shared.lock();
            world.used(route, &call, &verdict.outcome);
            world.leave(route, entry, &verdict.outcome);
            drop(world);
            verdict
        });
        task.await.map_err(|_| Reason::INTERNAL_ERROR.into())
    }

    /// Handles a request that was read completely.
    async fn judge(&self, route: Route, call: &Call, entry: &mut Option<Entry>) -> Verdict {
        if let Some(verdict) = self.strike(Point::Before, route, call, &mut stand_in()).await {
            return verdict;
        }
        let mut answer = self.act(call, entry);
        match self.strike(Point::After, route, call, &mut answer).await {
            Some(verdict) => verdict,
            None => self.answered(answer.status.to_string(), self.honest(&answer)),
        }
    }

    fn act(&self, call: &Call, entry: &mut Option<Entry>) -> Answer {
        let mut world = self.shared.lock();
        let now = world.now();
        let answer = world.state.answer(call, now);
        if let Some(entry) = entry {
            entry.acted(&answer, now);
        }
        answer
    }

    /// Lets the faults of one point strike. Returns nothing if the request continues.
    async fn strike(&self, point: Point, route: Route, call: &Call, answer: &mut Answer) -> Option<Verdict> {
        let actions = self.shared.lock().faults.strike(route, point);
        for action in actions {
            let verdict = match action {
                Action::Delay { ms } => {
                    sleep(Duration::from_millis(ms)).await;
                    continue;
                }
                Action::Set { field, value } => {
                    set(&mut answer.body, &field, value);
                    continue;
                }
                Action::Remove { field } => {
                    remove(&mut answer.body, &field);
                    continue;
                }
                Action::Status { status, body, headers } => {
                    self.answered(status.to_string(), reply::instead(status, body, &headers))
                }
                Action::Redirect { status } => {
                    let target = format!("{}{}", self.foreign, call.path);
                    self.answered(status.to_string(), reply::redirect(status, &target))
                }
                Action::Body(form) => self.answered(name_of(&form), reply::spoilt(&form, answer)),
                Action::Cut { bytes } => {
                    let response = self.dated(self.honest(answer));
                    Verdict { outcome: "cut".into(), end: End::Cut(response, bytes) }
                }
                Action::Reset => Verdict { outcome: "reset".into(), end: End::Connection(Ending::Reset) },
                Action::Close => Verdict { outcome: "close".into(), end: End::Connection(Ending::Close) },
                Action::RefuseStream => Verdict { outcome: "refuse_stream".into(), end: End::RefuseStream },
                Action::Hang => Verdict { outcome: "hang".into(), end: End::Hang },
            };
            return Some(verdict);
        }
        None
    }

    fn honest(&self, answer: &Answer) -> Response<Reply> {
        reply::honest(answer, &self.shared.lock().state.switches)
    }

    fn answered(&self, outcome: String, response: Response<Reply>) -> Verdict {
        Verdict { outcome, end: End::Answer(self.dated(response)) }
    }

    fn dated(&self, mut response: Response<Reply>) -> Response<Reply> {
        let world = self.shared.lock();
        let skew = match world.state.switches.date_header {
            DateHeader::Off => return response,
            DateHeader::On => 0,
            DateHeader::SkewS(seconds) => seconds,
        };
        let date = http_date((world.now() / 1000).saturating_add_signed(skew));
        reply::set_header(&mut response, DATE, &date);
        response
    }
}

async fn end_connection<T>(control: &Control, ending: Ending) -> T {
    control.end(ending);
    pending().await
}

/// The answer that a fault spoils before the request was processed.
fn stand_in() -> Answer {
    Answer::ok(json!({}))
}

fn with_body(call: Call, body: &Bytes) -> Call {
    Call { body: String::from_utf8_lossy(body).into_owned(), ..call }
}

fn set(body: &mut Value, field: &str, value: Value) {
    if let Some(fields) = body.as_object_mut() {
        fields.insert(field.into(), value);
    }
}

fn remove(body: &mut Value, field: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.remove(field);
    }
}

fn name_of(form: &Form) -> String {
    let form = serde_json::to_value(form).unwrap_or_default();
    form["form"].as_str().unwrap_or_default().into()
}
