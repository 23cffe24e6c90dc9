//! One timer for all sessions of the process, on the boot clock. It sleeps at most 30 s at a time and looks at the
//! clocks again, so that neither waking from suspend nor a clock of another mind needs a hook.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use super::core::Core;
use crate::clock::Clock;
use crate::defect;
use crate::error::Error;
use crate::runtime::alarm::Alarm;
use crate::runtime::{self, process::PerProcess};

const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// When it is due, and a number that makes it unique.
pub(super) type Due = (Duration, u64);

#[derive(Default)]
pub(super) struct Timers {
    agenda: Mutex<Agenda>,
    changed: Notify,
}

#[derive(Default)]
struct Agenda {
    due: BTreeMap<Due, Weak<Core>>,
    numbers: u64,
}

impl Timers {
    /// The timers of this process, running.
    pub(super) fn get(clock: &Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        static TIMERS: PerProcess<Arc<Timers>> = PerProcess::new();
        let timers = TIMERS.get_or_try_init(|| {
            let timers = Arc::<Timers>::default();
            // Whoever loses a race to make them drops the last handle, which ends the task.
            runtime::started()?.spawn(run(Arc::downgrade(&timers), clock.clone()));
            Ok(timers)
        })?;
        Ok(timers.clone())
    }

    /// Moves a session's next look to another time.
    pub(super) fn set(&self, before: Option<Due>, next: Option<Duration>, core: &Weak<Core>) -> Option<Due> {
        let mut agenda = self.agenda();
        if let Some(before) = before {
            agenda.due.remove(&before);
        }
        let at = next?;
        agenda.numbers += 1;
        let due = (at, agenda.numbers);
        agenda.due.insert(due, core.clone());
        if agenda.due.first_key_value().is_some_and(|(first, _)| *first == due) {
            self.changed.notify_one();
        }
        Some(due)
    }

    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes out what is due until then, and says how long to sleep from now on.
    fn take_due(&self, until: Duration, now: Duration) -> (Vec<Weak<Core>>, Duration) {
        let mut agenda = self.agenda();
        let later = agenda.due.split_off(&(until, u64::MAX));
        let due = std::mem::replace(&mut agenda.due, later);
        let next = agenda.due.keys().next().map(|(at, _)| at.saturating_sub(now));
        (due.into_values().collect(), next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP))
    }
}

async fn run(timers: Weak<Timers>, clock: Arc<dyn Clock>) {
    let alarm = Alarm::new();
    let mut before = clock.now();
    while let Some(timers) = timers.upgrade() {
        let now = clock.now();
        // Where the wall clock ran ahead, programs that look at no clock have to ask again.
        let until = if now.wall_has_jumped(before) { Duration::MAX } else { now.boot };
        before = now;
        let (due, sleep) = timers.take_due(until, now.boot);
        for core in due.iter().filter_map(Weak::upgrade) {
            // A defect in one session must not stop the timers of all.
            let _ = defect::contain(|| core.tick());
        }
        let mut changed = pin!(timers.changed.notified());
        let mut rung = pin!(alarm.sleep(sleep));
        poll_fn(|context| {
            // Either is reason enough to look again.
            let awake = changed.as_mut().poll(context).is_ready() || rung.as_mut().poll(context).is_ready();
            if awake { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
