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
pub(super) trait GiveUp: Send + 'static {
    fn give_up(&mut self);
}

/// What is operated on. An operation that hangs keeps the next ones of its session waiting, not their threads.
pub(super) struct Limited<T: GiveUp> {
    subject: Arc<Mutex<T>>,
    workers: Arc<Workers>,
    limit: Duration,
}

/// The turn of one operation.
struct Turn<T: GiveUp> {
    subject: OwnedMutexGuard<T>,
    /// If nobody waits any more when it ends, or it is never begun.
    lets_go: bool,
    /// So that the next session of the place, too, finds the threads that hang, and makes no others.
    _workers: Arc<Workers>,
}

impl<T: GiveUp> Turn<T> {
    fn end(&mut self, is_answered: bool) {
        self.lets_go &= !is_answered;
    }
}

impl<T: GiveUp> Drop for Turn<T> {
    fn drop(&mut self) {
        if self.lets_go {
            let _ = defect::catch_panic(|| self.subject.give_up());
        }
    }
}

impl<T: GiveUp> Deref for Turn<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.subject
    }
}

impl<T: GiveUp> DerefMut for Turn<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.subject
    }
}

impl<T: GiveUp> Limited<T> {
    pub(super) fn new(subject: T, workers: Arc<Workers>, limit: Duration) -> Self {
        Limited { subject: Arc::new(Mutex::new(subject)), workers, limit }
    }

    /// Performs an operation and waits for it, up to the limit; `late` is the error then. One that was given up before it
    /// began is not done, and after one that was given up all is let go of. A panic in it is an error.
    pub(super) async fn perform<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
        late: impl FnOnce(Duration) -> Error,
    ) -> Result<R, Error> {
        self.take_turn(work, late, true).await
    }

    /// The same for what may be given up in the middle of a flight: nothing is let go of.
    pub(super) async fn perform_aside<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
        late: impl FnOnce(Duration) -> Error,
    ) -> Result<R, Error> {
        self.take_turn(work, late, false).await
    }

    async fn take_turn<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> Result<R, Error> + Send + 'static,
        late: impl FnOnce(Duration) -> Error,
        lets_go: bool,
    ) -> Result<R, Error> {
        let performed = async {
            let subject = self.subject.clone().lock_owned().await;
            let mut turn = Turn { subject, lets_go, _workers: self.workers.clone() };
            let (answer, waiting) = oneshot::channel();
            self.workers.submit(Box::new(move || {
                if !answer.is_closed() {
                    let result = defect::catch_panic(|| work(&mut turn)).and_then(|done| done);
                    turn.end(answer.send(result).is_ok());
                }
            }))?;
            // Without an answer it was taken out of the queue, since no thread was left for it.
            waiting.await.unwrap_or_else(|_| Err(self.workers.refused(None)))
        };
        timeout(self.limit, performed).await.unwrap_or_else(|_| Err(late(self.limit)))
    }
}
