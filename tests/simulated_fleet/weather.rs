//! The incidents of one history of a fleet.

use fastrand::Rng;

/// The probability of each incident.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) network: f64,
    pub(crate) disk: f64,
    /// One in so many flights ends with the death of its process.
    pub(crate) deaths: Option<u32>,
    /// During one in so many flights the session is closed.
    pub(crate) ends: Option<u32>,
    /// During one in so many flights the process is stopped for minutes.
    pub(crate) stops: Option<u32>,
}

impl Weather {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let (deaths, ends) = (rng.bool().then_some(8), rng.bool().then_some(8));
        if rng.u8(0..3) == 0 {
            return Weather { deaths, ends, ..Weather::default() };
        }
        Weather {
            deaths,
            ends,
            network: if rng.bool() { rng.f64() } else { 0.0 },
            disk: if rng.bool() { rng.f64() * 0.3 } else { 0.0 },
            stops: rng.bool().then_some(6),
        }
    }

    /// Only deaths and orderly ends: the number of calls can be computed exactly.
    pub(crate) fn is_fair(&self) -> bool {
        self.network + self.disk == 0.0 && self.stops.is_none()
    }
}
