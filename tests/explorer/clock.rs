//! One clock for all processes of a history: the machine's clock, set forward by the numbers in a file.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use paymentsgate_auth::clock::{BootId, Clock, Moment, SystemClock};

pub(crate) struct SharedClock(File);

impl SharedClock {
    /// A new clock, equal to the machine's.
    pub(crate) fn create(path: &Path) -> Self {
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        let clock = SharedClock(file);
        clock.put_forward(Duration::ZERO, 0);
        clock
    }

    /// The clock that another process created.
    pub(crate) fn open(path: &Path) -> Self {
        SharedClock(File::open(path).unwrap())
    }

    /// Sets the total advance of both clocks, and of the wall clock alone.
    pub(crate) fn put_forward(&self, both: Duration, wall_s: i64) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(both.as_millis() as u64).to_le_bytes());
        bytes[8..].copy_from_slice(&wall_s.to_le_bytes());
        self.0.write_all_at(&bytes, 0).unwrap();
    }
}

impl Clock for SharedClock {
    fn now(&self) -> Moment {
        let mut bytes = [0; 16];
        self.0.read_exact_at(&mut bytes, 0).unwrap();
        let both = Duration::from_millis(u64::from_le_bytes(bytes[..8].try_into().unwrap()));
        let wall_s = i64::from_le_bytes(bytes[8..].try_into().unwrap());
        let now = SystemClock.now();
        let (wall, by) = (now.wall + both, Duration::from_secs(wall_s.unsigned_abs()));
        Moment { boot: now.boot + both, wall: if wall_s < 0 { wall.saturating_sub(by) } else { wall + by } }
    }

    fn boot_id(&self) -> Option<BootId> {
        SystemClock.boot_id()
    }
}

/// The machine's boot clock, which all processes share and no incident moves.
pub(crate) fn now() -> Duration {
    SystemClock.now().boot
}
