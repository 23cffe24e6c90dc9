//! A timer that counts the time in which the machine is suspended (`CLOCK_BOOTTIME`), as tokio's timers do not.

pub(crate) use self::system::BootTimer;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use std::mem;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::Arc;
    use std::time::Duration;

    use rustix::io::{Result, read};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use crate::runtime::canary::Canary;
    use crate::runtime::{Runtime, standard_streams};

    /// A timer that has not fired so much later never will: the host has closed its descriptor.
    const LATE: Duration = Duration::from_secs(1);

    /// A timer of the kernel (`timerfd`) on the boot clock. Where the system refuses it, each sleep is tokio's.
    pub(crate) struct BootTimer {
        timer: Option<OwnedFd>,
        canary: Arc<Canary>,
    }

    impl BootTimer {
        /// A timer for the thread of this runtime, which may sleep inside and outside of it.
        pub(crate) fn new(runtime: &Runtime) -> Self {
            BootTimer { timer: None, canary: runtime.canary() }
        }

        #[cfg(test)]
        pub(super) fn descriptor(&self) -> Option<std::os::fd::RawFd> {
            use std::os::fd::AsRawFd;
            self.timer.as_ref().map(AsRawFd::as_raw_fd)
        }

        /// Sleeps for the given time. One sleep at a time.
        pub(crate) async fn sleep(&mut self, time: Duration) {
            // Tried again at each sleep: a descriptor may be free by now.
            self.timer = self.timer.take().or_else(timer);
            match self.timer.as_ref().and_then(|timer| Some((timer, watched(timer)?))) {
                Some((timer, watched)) if set(timer, time).is_ok() => {
                    let latest = time.saturating_add(LATE);
                    let _ = tokio::time::timeout(latest, expired(&watched)).await;
                }
                _ => tokio::time::sleep(time).await,
            }
        }
    }

    impl Drop for BootTimer {
        fn drop(&mut self) {
            if !self.canary.is_alive() {
                // By now its number may be that of another file, which must stay open.
                mem::forget(self.timer.take());
            }
        }
    }

    fn watched(timer: &OwnedFd) -> Option<AsyncFd<BorrowedFd<'_>>> {
        // SAFETY: the timer owns the descriptor, and nothing else replaces or closes it before.
        unsafe { AsyncFd::register_with_interest(timer.as_fd(), Interest::READABLE) }.ok()
    }

    fn timer() -> Option<OwnedFd> {
        standard_streams::ensure_open().ok()?;
        timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC).ok()
    }

    fn set(timer: &OwnedFd, time: Duration) -> Result<()> {
        // Zero would disarm the timer.
        let time = time.max(Duration::from_nanos(1));
        let it_value = Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    async fn expired(timer: &AsyncFd<BorrowedFd<'_>>) {
        while let Ok(mut ready) = timer.readable().await {
            // The read fails if the readiness was that of an earlier sleep.
            if ready.try_io(|timer| Ok(read(timer, &mut [0; 8])?)).is_ok() {
                return;
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::time::Duration;

    use crate::runtime::Runtime;

    /// A timer of tokio, which stops while the machine is suspended. The timers of sessions sleep for 30 s at most and then look
    /// at the boot clock: so late is what became due meanwhile.
    pub(crate) struct BootTimer;

    impl BootTimer {
        pub(crate) fn new(_: &Runtime) -> Self {
            BootTimer
        }

        pub(crate) async fn sleep(&mut self, time: Duration) {
            tokio::time::sleep(time).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::runtime::{handle, run};

    #[test]
    fn each_sleep_ends_and_not_too_early() {
        let slept = run(
            async {
                let mut timer = BootTimer::new(handle().unwrap());
                // A sleep that is canceled does not disturb the next.
                let early =
                    tokio::time::timeout(Duration::from_millis(5), timer.sleep(Duration::from_secs(60)));
                assert!(early.await.is_err());
                let begun = Instant::now();
                timer.sleep(Duration::from_millis(60)).await;
                let first = begun.elapsed();
                timer.sleep(Duration::ZERO).await;
                timer.sleep(Duration::from_millis(20)).await;
                (first, begun.elapsed())
            },
            Duration::from_secs(10),
        );
        let (first, all) = slept.unwrap().unwrap();
        assert!(first >= Duration::from_millis(60) && all >= Duration::from_millis(80), "{first:?} {all:?}");
    }

    /// The system has another file under the number of the timer, as in a program that closes all descriptors.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_sleep_ends_although_the_timer_was_taken_away() {
        use std::os::fd::{AsRawFd, OwnedFd};

        let slept = run(
            async {
                let mut timer = BootTimer::new(handle().unwrap());
                timer.sleep(Duration::ZERO).await;
                let number = timer.descriptor().unwrap();
                let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
                let begun = Instant::now();
                let mut sleep = Box::pin(timer.sleep(Duration::from_millis(60)));
                assert!(tokio::time::timeout(Duration::from_millis(5), sleep.as_mut()).await.is_err());
                // SAFETY: the number stays open and the timer's own.
                assert!(unsafe { libc::dup2(null.as_raw_fd(), number) } != -1);
                sleep.await;
                timer.sleep(Duration::from_millis(60)).await;
                begun.elapsed()
            },
            Duration::from_secs(30),
        );
        assert!(slept.unwrap().unwrap() >= Duration::from_secs(1));
    }
}
