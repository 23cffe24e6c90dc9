//! Runs operations that may hang: one after the other for each session, on threads of the store, each with a time
//! limit.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};
use tokio::time::timeout;

use crate::defect;
use crate::error::Error;
use crate::runtime::workers::Workers;

/// How long a session waits for an operation on its store.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// A resource whose lock is released when an operation timed out and the session continues without it.
pub(super) trait ReleaseLock: Send + 'static {
    fn release_lock(&mut self);
}

/// Runs operations on a resource. If one hangs, the next ones of its session wait without using a thread.
pub(super) struct Limited<T: ReleaseLock> {
    resource: Arc<Mutex<T>>,
    workers: Arc<Workers>,
    limit: Duration,
}

/// One operation, which has exclusive use of the resource.
struct ResourceGuard<T: ReleaseLock> {
    resource: OwnedMutexGuard<T>,
    /// Whether the lock is released if nobody waits at the end, or if the operation never begins.
    releases_lock: bool,
    /// Keeps the pool alive, so that the store's next session shares its hanging threads.
    _workers: Arc<Workers>,
}

impl<T: ReleaseLock> ResourceGuard<T> {
    fn end(&mut self, is_answered: bool) {
        self.releases_lock &= !is_answered;
    }
}

impl<T: ReleaseLock> Drop for ResourceGuard<T> {
    fn drop(&mut self) {
        if self.releases_lock {
            let _ = defect::catch_panic(|| self.resource.release_lock());
        }
    }
}

impl<T: ReleaseLock> Deref for ResourceGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.resource
    }
}

impl<T: ReleaseLock> DerefMut for ResourceGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.resource
    }
}

impl<T: ReleaseLock> Limited<T> {
    pub(super) fn new(resource: T, workers: Arc<Workers>, limit: Duration) -> Self {
        Limited { resource: Arc::new(Mutex::new(resource)), workers, limit }
    }

    /// Performs an operation within the limit; after that `timeout_error` gives the error. An operation that timed out
    /// before it began is not performed, and after any timeout the lock is released. A panic becomes an error.
    pub(super) async fn perform<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
        timeout_error: impl FnOnce(Duration) -> Error,
    ) -> Result<R, Error> {
        self.run(work, timeout_error, true).await
    }

    /// Like `perform`, for an operation that may be abandoned during a flight: the lock is not released.
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
            let mut guard = ResourceGuard { resource, releases_lock, _workers: self.workers.clone() };
            let (answer, waiting) = oneshot::channel();
            self.workers.submit(Box::new(move || {
                if !answer.is_closed() {
                    let result = defect::catch_panic(|| work(&mut guard)).and_then(|done| done);
                    guard.end(answer.send(result).is_ok());
                }
            }))?;
            // No answer: the operation was removed from the queue, since no thread was left for it.
            waiting.await.unwrap_or_else(|_| Err(self.workers.refused(None)))
        };
        timeout(self.limit, run).await.unwrap_or_else(|_| Err(timeout_error(self.limit)))
    }
}
