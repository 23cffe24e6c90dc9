//! Operations on what may hang: one after the other for each session, on threads of the place's own, each with a limit.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use crate::defect;
use crate::error::Error;
use crate::runtime::workers::Workers;

/// What a session waits for an operation on its store.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// Lets go of what it holds: the session has gone on without it.
pub(super) trait ReleaseLock: Send + 'static {
    fn release_lock(&mut self);
}

/// What is operated on. An operation that hangs keeps the next ones of its session waiting, not their threads.
pub(super) struct Limited<T: ReleaseLock> {
    resource: Arc<Mutex<T>>,
    workers: Arc<Workers>,
    limit: Duration,
}

/// The turn of one operation.
struct Operation<T: ReleaseLock> {
    resource: OwnedMutexGuard<T>,
    /// If nobody waits any more when it ends, or it is never begun.
    releases_lock: bool,
    /// So that the next session of the place, too, finds the threads that hang, and makes no others.
    _workers: Arc<Workers>,
}

impl<T: ReleaseLock> Operation<T> {
    fn end(&mut self, is_answered: bool) {
        self.releases_lock &= !is_answered;
    }
}

impl<T: ReleaseLock> Drop for Operation<T> {
    fn drop(&mut self) {
        if self.releases_lock {
            let _ = defect::catch_panic(|| self.resource.release_lock());
        }
    }
}

impl<T: ReleaseLock> Deref for Operation<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.resource
    }
}

impl<T: ReleaseLock> DerefMut for Operation<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.resource
    }
}

impl<T: ReleaseLock> Limited<T> {
    pub(super) fn new(resource: T, workers: Arc<Workers>, limit: Duration) -> Self {
        Limited { resource: Arc::new(Mutex::new(resource)), workers, limit }
    }

    /// Performs an operation and waits for it, up to the limit; `late` is the error then. One that was given up before it
    /// began is not done, and after one that was given up all is let go of. A panic in it is an error.
    pub(super) async fn perform<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
        timeout_error: impl FnOnce(Duration) -> Error,
    ) -> Result<R, Error> {
        self.run(work, timeout_error, true).await
    }

    /// The same for what may be given up in the middle of a flight: nothing is let go of.
    pub(super) async fn perform_without_release<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
        timeout_error: impl FnOnce(Duration) -> Error,
    ) -> Result<R, Error> {
        self.run(work, timeout_error, false).await
    }

    async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
        timeout_error: impl FnOnce(Duration) -> Error,
        releases_lock: bool,
    ) -> Result<R, Error> {
        let run = async {
            let resource = self.resource.clone().lock_owned().await;
            let mut operation = Operation { resource, releases_lock, _workers: self.workers.clone() };
            let (answer, waiting) = oneshot::channel();
            self.workers.submit(Box::new(move || {
                if !answer.is_closed() {
                    let result = defect::catch_panic(|| work(&mut operation)).and_then(|done| done);
                    operation.end(answer.send(result).is_ok());
                }
            }))?;
            // Without an answer it was taken out of the queue, since no thread was left for it.
            waiting.await.unwrap_or_else(|_| Err(self.workers.refused(None)))
        };
        timeout(self.limit, run).await.unwrap_or_else(|_| Err(timeout_error(self.limit)))
    }
}
