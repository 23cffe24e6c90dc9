//! One history of a fleet: troubles, then calm; and how many calls it may cost.

use std::time::Duration;

use paymentsgate_auth::expiry::Lifetime;
use paymentsgate_auth::session::phase::Windows;

use super::{Coming, Fleet, PROBE};
use crate::process::Process;
use crate::simulated::HOUR;
use crate::weather::Weather;

impl Fleet {
    /// One history: troubles, then calm, in which the fleet must recover by itself.
    pub(crate) fn live(&mut self) {
        self.service.trouble = self.weather.network;
        self.disk.plan.set_trouble(self.weather.disk);
        let life = self.lifetime() * 6;
        for _ in 0..self.size {
            self.plan_within(Duration::from_secs(30), Coming::Start);
        }
        for _ in 0..30 * self.size {
            self.plan_within(life, Coming::Ask);
        }
        for _ in 0..self.rng.u8(0..4) {
            self.plan_within(life, Coming::Revocation);
        }
        if self.rng.bool() {
            let last = self.within(Duration::from_secs(2 * HOUR));
            self.plan_within(life, Coming::Refusals { last });
        }
        if !self.weather.is_fair() {
            for _ in 0..self.rng.u8(0..4) {
                let last = self.within(self.lifetime());
                self.plan_within(life, Coming::Outage { last });
                self.plan_within(life, Coming::Clocks);
            }
        }
        self.run(life);
        self.settle();
        self.calm();
    }

    /// The longest pause that can still be running: the one before a probe of rejected credentials.
    fn settle(&mut self) {
        self.service.trouble = 0.0;
        self.disk.plan.set_trouble(0.0);
        self.run(Duration::from_secs(2 * HOUR));
        let generations = self.lineage.len() as u64;
        if self.weather.is_fair() {
            let (minted, losses) = (self.service.minted, self.losses);
            let issues = self.service.issues - self.probes;
            assert!(
                minted <= generations + losses,
                "invariant 2: {minted} pairs for {generations} generations, {losses} losses"
            );
            assert!(issues <= 1 + losses, "invariant 5: {issues} issues for {losses} losses");
        }
        self.weather = Weather::default();
        assert!(!self.disk.plan.is_down() && !self.service.is_locked);
        self.run(Duration::from_secs(PROBE + 60));
        assert!(self.processes.values().all(|process| !process.is_anybody_waiting()), "somebody waits");
    }

    /// Every process is asked repeatedly and gets a token; the fleet makes one call for each due refresh, and shares one pair.
    fn calm(&mut self) {
        let pause = self.lifetime() / 16;
        self.go_on_asking(16, pause);
        let before = (self.service.calls, self.lineage.len() as u64, self.callers().1);
        let begun = self.now().boot;
        self.go_on_asking(32, pause);
        let windows = Windows::of(&Lifetime::of(self.lifetime()));
        let spread = windows.advisory / 3 + Duration::from_secs(5);
        while self.now().boot < self.moved + spread {
            self.go_on_asking(1, Duration::from_secs(1));
        }
        let calls = self.service.calls - before.0;
        let generations = self.lineage.len() as u64 - before.1;
        let apart = (windows.length - windows.advisory).max(windows.floor);
        let due = (self.now().boot - begun).as_secs() / apart.as_secs() + 1;
        assert!(
            generations <= due && calls.abs_diff(generations) <= 1,
            "invariant 2: {calls} calls for {generations} generations where {due} are due"
        );
        assert_eq!(self.callers().1, before.2, "in calm every caller gets a token");
        let newest = self.lineage.last_key_value().map(|(generation, token)| (*generation, *token));
        for (pid, process) in &self.processes {
            assert_eq!(process.serves(), newest, "invariant 6: process {pid} does not serve the newest pair");
        }
    }

    fn callers(&self) -> (u64, u64) {
        let living = |count: fn(&Process) -> u64| self.processes.values().map(count).sum::<u64>();
        (self.served + living(|process| process.served), self.failed + living(|process| process.failed))
    }

    fn go_on_asking(&mut self, times: u32, pause: Duration) {
        for _ in 0..times {
            for pid in self.running() {
                self.ask(pid, Duration::from_secs(60), Duration::ZERO);
            }
            self.run(pause);
        }
    }
}
