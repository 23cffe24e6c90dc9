//! Thread pools for work that may block: a disk, the host's own code, the system's resolver.
//!
//! Each kind and place of work has a pool of its own, so that work that hangs does not delay the others. tokio's blocking
//! pool is not used: it panics where the system refuses a thread, and all its users share its threads.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use super::process::PerProcess;
use super::signals::with_signals_blocked;
use super::thread_builder;
use crate::defect;
use crate::error::Error;
use crate::status::Status;
use crate::sync::{ignore_poison, lock};

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(1);

/// The function that starts a thread. Tests have one that refuses.
pub(crate) type Spawn = fn(&'static str, Work) -> io::Result<()>;
/// What a thread runs.
pub(crate) type Work = Box<dyn FnOnce() + Send>;

/// A pool of threads. Each process has its own: a forked child does not use its parent's.
pub(crate) struct Workers {
    /// The name of its threads.
    name: &'static str,
    /// The most threads at a time.
    max_threads: usize,
    spawn: Spawn,
    pool: PerProcess<Arc<Pool>>,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    has_work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// How many threads there are, with those that are about to start.
    threads: usize,
    /// How many threads wait for work.
    idle: usize,
}

struct Job {
    /// Dead once no caller waits for the result. `None`: the work is done in any case.
    waiter: Option<Weak<()>>,
    work: Work,
}

impl Job {
    fn is_wanted(&self) -> bool {
        self.waiter.as_ref().is_none_or(|waiter| waiter.strong_count() > 0)
    }
}

impl Workers {
    /// A pool of at most `max_threads` threads. None is started before there is work.
    pub(crate) const fn new(name: &'static str, max_threads: usize) -> Self {
        Workers::with_spawn(spawn, name, max_threads)
    }

    pub(crate) const fn with_spawn(spawn: Spawn, name: &'static str, max_threads: usize) -> Self {
        Workers { name, max_threads, spawn, pool: PerProcess::new() }
    }

    /// Runs work that may block, and waits for its result. Work is not started once its caller has gone. A panic in it is
    /// an error.
    pub(crate) async fn perform<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let waiter = Arc::new(());
        let (answer, waiting) = oneshot::channel();
        let work = Box::new(move || drop(answer.send(defect::catch_panic(work))));
        self.add(Job { waiter: Some(Arc::downgrade(&waiter)), work })?;
        // Dropped without an answer: it was taken out of the queue, because no thread was left.
        waiting.await.unwrap_or_else(|_| Err(self.refused(None)))
    }

    /// Runs work on a thread of the pool; no caller waits for it. An error: there is no thread, and the work was dropped.
    pub(crate) fn submit(&self, work: Work) -> Result<(), Error> {
        self.add(Job { waiter: None, work })
    }

    fn add(&self, job: Job) -> Result<(), Error> {
        let pool = self.pool.get_or_try_init(|| Ok(Arc::default()))?;
        let mut state = pool.state();
        // While all threads hang, callers that come and give up must not fill the queue.
        let (wanted, unwanted): (VecDeque<_>, VecDeque<_>) = state.queue.drain(..).partition(Job::is_wanted);
        state.queue = wanted;
        state.queue.push_back(job);
        let has_thread = state.queue.len() <= state.idle || state.threads >= self.max_threads;
        state.threads += usize::from(!has_thread);
        drop(state);
        drop(unwanted);
        if has_thread {
            pool.has_work.notify_one();
            return Ok(());
        }
        let here = pool.clone();
        match (self.spawn)(self.name, Box::new(move || here.work())) {
            Ok(()) => Ok(()),
            Err(error) => pool.handle_refusal(|| self.refused(Some(&error))),
        }
    }

    /// The error for a thread that the system refused.
    pub(crate) fn refused(&self, error: Option<&io::Error>) -> Error {
        let why = error.map_or_else(|| "no thread was left".into(), ToString::to_string);
        let text = format!(
            "the system gave no thread ({}): {why}; raise the limit on processes and threads (RLIMIT_NPROC, `ulimit -u`; \
             in a container the pids.max of its cgroup)",
            self.name
        );
        Error::new(Status::PG_ERR_SYSTEM, text)
    }
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Called after the system refused a thread. The other threads take its work. If there are none, the queue is dropped,
    /// and the callers get an error.
    fn handle_refusal(&self, refused: impl FnOnce() -> Error) -> Result<(), Error> {
        let mut state = self.state();
        state.threads -= 1;
        if state.threads > 0 {
            return Ok(());
        }
        let lost = std::mem::take(&mut state.queue);
        drop(state);
        // Dropped outside the lock: a drop may submit more work.
        drop(lost);
        Err(refused())
    }

    /// The body of a thread.
    fn work(&self) {
        while let Some(job) = self.next() {
            if job.is_wanted() {
                let _ = defect::catch_panic(job.work);
            }
        }
    }

    /// The next job. `None`: there was none for [`IDLE`], and the thread is not counted any more.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        if state.queue.is_empty() {
            state.idle += 1;
            let waited = self.has_work.wait_timeout_while(state, IDLE, |state| state.queue.is_empty());
            state = ignore_poison(waited).0;
            state.idle -= 1;
        }
        let job = state.queue.pop_front();
        state.threads -= usize::from(job.is_none());
        job
    }
}

fn spawn(name: &'static str, work: Work) -> io::Result<()> {
    with_signals_blocked(|| thread_builder(name).spawn(work)).map(drop)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use super::*;
    use crate::runtime::run;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Refuses a thread as the system does at its limit.
    pub(crate) fn refuse(_name: &'static str, _work: Work) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn performed<T: Send + 'static>(
        workers: &'static Workers,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        run(async { workers.perform(work).await }, PATIENCE).unwrap().unwrap()
    }

    fn leaked(spawn: Spawn, max_threads: usize) -> &'static Workers {
        Box::leak(Box::new(Workers::with_spawn(spawn, "pg-test", max_threads)))
    }

    /// Submits work that reports its start on one channel, and ends when the sender of the other is dropped.
    fn hang(workers: &Workers) -> (Receiver<()>, Sender<()>) {
        let ((begin, begun), (go_on, wait)) = (channel(), channel());
        let work = Box::new(move || {
            begin.send(()).unwrap();
            let _ = wait.recv();
        });
        workers.submit(work).unwrap();
        (begun, go_on)
    }

    #[test]
    fn a_result_comes_back_and_a_panic_is_an_error() {
        let workers = leaked(spawn, 2);
        assert_eq!(performed(workers, || 7).unwrap(), 7);
        let error = performed(workers, || panic!("hunter2")).unwrap_err();
        assert!(error.status == Status::PG_ERR_INTERNAL && !error.text.contains("hunter2"), "{error}");
        assert_eq!(performed(workers, || 8).unwrap(), 8, "the thread has survived it");
    }

    #[test]
    fn a_refused_thread_is_an_error_that_names_the_limit() {
        let error = performed(leaked(refuse, 2), || ()).unwrap_err();
        assert!(error.status == Status::PG_ERR_SYSTEM && error.is_retryable(), "{error}");
        assert!(error.text.contains("RLIMIT_NPROC") && error.text.contains("pids.max"), "{error}");
    }

    #[test]
    fn a_refused_thread_is_no_error_where_another_one_takes_the_work() {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        fn one(name: &'static str, work: Work) -> io::Result<()> {
            if STARTED.fetch_add(1, Ordering::SeqCst) == 0 { spawn(name, work) } else { refuse(name, work) }
        }
        let workers = leaked(one, 4);
        let (begun, go_on) = hang(workers);
        begun.recv_timeout(PATIENCE).unwrap();
        let waiting = thread::spawn(|| performed(workers, || 7));
        while workers.pool.get().unwrap().state().queue.is_empty() {
            thread::yield_now();
        }
        drop(go_on);
        assert_eq!(waiting.join().unwrap().unwrap(), 7);
    }

    #[test]
    fn work_that_hangs_takes_a_bounded_number_of_threads_and_unwanted_work_is_not_done() {
        let workers = leaked(spawn, 2);
        let hanging = [hang(workers), hang(workers)];
        hanging.iter().for_each(|(begun, _)| begun.recv_timeout(PATIENCE).unwrap());
        static DONE: AtomicUsize = AtomicUsize::new(0);
        let given_up = async {
            for _ in 0..20 {
                let work = workers.perform(|| DONE.fetch_add(1, Ordering::SeqCst));
                assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
            }
        };
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(given_up);
        let state = workers.pool.get().unwrap().state();
        assert_eq!((state.threads, state.queue.len()), (2, 1), "the last one is still in the queue");
        drop(state);
        drop(hanging);
        assert_eq!(performed(workers, || 7).unwrap(), 7);
        assert_eq!(DONE.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_thread_without_work_goes_away() {
        let workers = leaked(spawn, 2);
        performed(workers, || ()).unwrap();
        let begun = std::time::Instant::now();
        while workers.pool.get().unwrap().state().threads > 0 {
            assert!(begun.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(10));
        }
        performed(workers, || ()).unwrap();
    }
}
