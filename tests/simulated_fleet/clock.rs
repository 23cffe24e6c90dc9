//! The clocks of the machine that all processes run on.

use std::sync::Mutex;

use paymentsgate_auth::clock::{BootId, Clock, Moment};

pub(crate) struct SimClock(pub(crate) Mutex<Moment>);

impl Clock for SimClock {
    fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }

    fn boot_id(&self) -> Option<BootId> {
        Some(BootId([1; 16]))
    }
}
