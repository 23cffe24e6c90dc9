//! What befalls a fleet besides its work.

use fastrand::Rng;

/// How likely each trouble is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) network: f64,
    pub(crate) disk: f64,
    /// Flights that end with the process, one in so many.
    pub(crate) deaths: Option<u32>,
    /// Flights during which the session is closed, one in so many.
    pub(crate) ends: Option<u32>,
    /// Flights whose process is stopped for minutes, one in so many.
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

    /// Nothing but deaths and orderly ends: what a fleet costs can be told exactly.
    pub(crate) fn is_fair(&self) -> bool {
        self.network + self.disk == 0.0 && self.stops.is_none()
    }
}
