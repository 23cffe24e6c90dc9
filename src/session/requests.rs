//! Performs authenticated requests: gets a token, sends the request, and repeats it once where that is safe.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::driver::{Driver, Stopped, TokenResult};
use super::machine::closed;
use super::rejection::ReportVerdict;
use crate::defect;
use crate::error::Error;
use crate::event::{Body, Level};
use crate::queue::Completion;
use crate::request::{ApiRequest, Attempts, Next, Response};
use crate::runtime::sharded_arc::{Published, ShardedArc};
use crate::runtime::{self, race};
use crate::status::Status;
use crate::token::Grant;

type Outcome = Result<Arc<Response>, Error>;

/// Performs a request and waits for its outcome.
pub(super) fn run(driver: &Arc<Driver>, request: ApiRequest, timeout: Duration) -> Outcome {
    let deadline = deadline(driver, timeout);
    let (guard, stopped) = RequestGuard::begin(driver)?;
    let request = Arc::new(request);
    let running = request.clone();
    let work = async move { until_closed(&guard.driver, &running, deadline, stopped).await };
    let outcome = runtime::run(work, timeout).map_err(|error| interrupted(error, request.is_safe()))?;
    outcome.unwrap_or_else(|| Err(Error { may_have_acted: !request.is_safe(), ..timed_out(&request.name()) }))
}

/// Starts a request whose outcome completes an operation of a queue.
pub(super) fn start(driver: &Arc<Driver>, end: Completion, request: ApiRequest, timeout: Duration) {
    let deadline = deadline(driver, timeout);
    let begun = runtime::handle().and_then(|runtime| Ok((runtime, RequestGuard::begin(driver)?)));
    let (runtime, (guard, stopped)) = match begun {
        Ok(begun) => begun,
        Err(error) => return end.fail(error),
    };
    let (cancel, canceled) = oneshot::channel::<()>();
    end.on_cancel(move || drop(cancel));
    let driver = driver.clone();
    runtime.spawn(async move {
        let work = until_closed(&driver, &request, deadline, stopped);
        match race(defect::catch_panic_async(work), canceled).await {
            Some(Ok(outcome)) => end.complete(Body::Response(outcome)),
            Some(Err(error)) => end.fail(interrupted(error, request.is_safe())),
            // The operation was canceled and has its outcome.
            None => {}
        }
        // Dropped last, so that a close returns only after the outcome is delivered.
        drop(guard);
    });
}

/// The deadline on the boot clock. It is taken on the caller's thread, because the library's own thread may be busy.
pub(super) fn deadline(driver: &Driver, timeout: Duration) -> Duration {
    driver.account.client.clock.now().boot.saturating_add(timeout)
}

/// The error of a request that a panic or the end of its thread interrupted. With `PG_ERR_SYSTEM` it was not even
/// started.
fn interrupted(error: Error, is_safe: bool) -> Error {
    let has_begun = error.status != Status::PG_ERR_SYSTEM;
    Error { may_have_acted: has_begun && !is_safe, ..error }
}

/// Performs the request until the session is closed.
async fn until_closed(
    driver: &Driver,
    request: &ApiRequest,
    deadline: Duration,
    stopped: Stopped,
) -> Outcome {
    match race(perform(driver, request, deadline), stopped).await {
        Some(outcome) => outcome,
        None => Err(Error { may_have_acted: true, ..closed() }),
    }
}

/// Registers a request with the session, so that a close waits for it, and removes it when dropped.
struct RequestGuard {
    driver: Arc<Driver>,
    id: u64,
}

impl RequestGuard {
    fn begin(driver: &Arc<Driver>) -> Result<(Self, Stopped), Error> {
        let (id, stopped) = driver.begin_request().ok_or_else(closed)?;
        Ok((RequestGuard { driver: driver.clone(), id }, stopped))
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.driver.end_request(self.id);
    }
}

async fn perform(driver: &Driver, request: &ApiRequest, deadline: Duration) -> Outcome {
    let client = &driver.account.client;
    let mut attempts = Attempts::new(request.is_safe(), true);
    loop {
        let grant = token(driver, deadline, Duration::ZERO).await?;
        let left = deadline.saturating_sub(client.clock.now().boot);
        if left.is_zero() {
            return Err(timed_out(&request.name()));
        }
        let exchange = client.transport.send(request.with_token(&grant, client.request_limit, left)).await;
        let was_sent = exchange.sent.is_some();
        let answered = exchange.result.as_ref().map(|answer| answer.status).map_err(|error| error.status);
        report(driver, &grant, &mut attempts, answered);
        let why = match attempts.after(was_sent, answered) {
            Next::Done => {
                let answer =
                    exchange.result.map_err(|error| attempts.failed(was_sent, &grant.token.access, error))?;
                return Response::read(request, answer).map(Arc::new);
            }
            Next::RetryWithNewerToken => "the token was refused",
            Next::Retry => "the connection broke",
        };
        driver.log(Level::PG_LOG_INFO, || format!("{}: {why}; retrying", request.name()));
    }
}

/// Reports to the session what the service said of a token.
pub(super) fn report(driver: &Driver, grant: &Grant, attempts: &mut Attempts, answered: Result<u16, Status>) {
    match answered {
        Ok(401) => {
            let verdict = driver.reject(*grant.token.fingerprint());
            if matches!(verdict, ReportVerdict::RejectedFresh { .. } | ReportVerdict::Static) {
                attempts.give_up_renewing();
            }
        }
        Ok(_) => driver.accept(*grant.token.fingerprint()),
        Err(_) => {}
    }
}

/// A token, from memory or from the machine.
pub(super) async fn token(
    driver: &Driver,
    deadline: Duration,
    min_remaining: Duration,
) -> Result<ShardedArc<Grant>, Error> {
    if let Some(grant) = driver.account.published.read(min_remaining, Published::share) {
        return Ok(grant);
    }
    let (sender, answer) = oneshot::channel::<TokenResult>();
    // The receiver may be gone.
    let id = driver.new_id();
    let _guard = WaiterGuard { driver, id };
    let left = deadline.saturating_sub(driver.account.client.clock.now().boot);
    driver.add_waiter(
        id,
        driver.token_request(left, min_remaining),
        Box::new(move |answer| Box::new(move || drop(sender.send(answer)))),
    );
    match answer.await {
        Ok(answer) => answer.map(|committed| committed.grant),
        Err(_) => Err(closed()),
    }
}

/// Removes the waiter of a request that is dropped.
struct WaiterGuard<'a> {
    driver: &'a Driver,
    id: u64,
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.driver.leave(self.id);
    }
}

fn timed_out(name: &str) -> Error {
    Error::new(Status::PG_ERR_TIMEOUT, format!("{name}: no complete answer within the deadline"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_request_may_have_acted_unless_it_only_reads_or_was_not_started() {
        for (status, is_safe, expected) in [
            (Status::PG_ERR_INTERNAL, false, true),
            (Status::PG_ERR_INTERNAL, true, false),
            (Status::PG_ERR_SYSTEM, false, false),
            (Status::PG_ERR_SYSTEM, true, false),
        ] {
            let error = interrupted(Error::new(status, "it broke"), is_safe);
            assert_eq!((error.may_have_acted, error.status), (expected, status));
            assert_eq!(error.text, "it broke");
        }
    }
}
