//! The reaction of the machine to the end of a flight.

use super::super::credential_state::CredentialState;
use super::super::decision::{Action, Random};
use super::super::outcome::FlightOutcome;
use super::super::pause::Pause;
use super::Machine;
use crate::clock::Moment;
use crate::error::Error;
use crate::event::Notice;
use crate::status::Status;
use crate::store::Refusal;

impl Machine {
    /// Processes the outcome of the flight.
    pub(super) fn end_flight(
        &mut self,
        outcome: FlightOutcome,
        now: Moment,
        random: Random<'_>,
        actions: &mut Vec<Action>,
    ) {
        self.in_flight = false;
        self.current_call = None;
        self.last_look = now.boot;
        let replaced = std::mem::take(&mut self.credentials_replaced);
        // New credentials count as untried until an Issue was made with them or a pair has come.
        self.has_untried_credentials &= replaced || (outcome.result.is_err() && outcome.stats.issues == 0);
        self.have_worked |= outcome.stats.have_worked;
        if let Some(error) = outcome.lost_answer {
            self.notify(Notice::Ambiguous(error), actions);
        }
        match outcome.result {
            // The pair belongs to the record of the old credentials and stays there.
            Ok(_) if replaced && self.policy.is_shared => {}
            Ok(committed) => {
                let is_same_token = self.current.as_ref().is_some_and(|current| {
                    current.refused
                        && *current.committed.token().fingerprint() == *committed.token().fingerprint()
                });
                let pause = self.pause.take();
                self.last_failure = None;
                self.have_worked = true;
                // A pair ends every obstacle, even if another process obtained it.
                if self.credential_state != CredentialState::Absent {
                    self.credential_state = CredentialState::Good;
                }
                let is_publishable = !is_same_token && !committed.has_uncertain_age;
                self.replace_current(committed.clone(), now, random);
                if let Some(current) = &mut self.current {
                    current.refused = is_same_token;
                    current.published = is_publishable && !self.closed;
                }
                if outcome.stats.brought_token() {
                    // This token answers all waiters for another token, even if it is the same one.
                    self.waiters.values_mut().for_each(|waiter| waiter.unwanted = None);
                }
                if outcome.store_error.is_none() {
                    self.stored = committed.generation();
                }
                if is_same_token {
                    let text =
                        "the service issued the same token that it had refused; check the account's rights";
                    let error = Error::new(Status::PG_ERR_REJECTED_FRESH, text);
                    self.pause = Some(Pause::after(error, pause, now, random));
                }
                // A host that keeps the pairs is notified of a pair before it is published, and even after a close.
                let rotated = Notice::rotated(&committed.grant, outcome.host_copy);
                if self.policy.host_keeps {
                    actions.push(Action::Notify(rotated));
                } else {
                    self.notify(rotated, actions);
                }
                // Model: Publish.
                if !self.closed {
                    actions.push(Action::Publish(is_publishable.then(|| committed.clone())));
                }
                match outcome.store_error {
                    Some(error) => self.degrade(error, actions),
                    None if std::mem::take(&mut self.degraded) => self.notify(Notice::Recovered, actions),
                    None => {}
                }
            }
            Err(error) if outcome.private_pair.is_some() => {
                self.pause = Some(Pause::after(error, self.pause.take(), now, random));
            }
            Err(_) if outcome.stats.looked_only => self.note_refusal(outcome.refusal, replaced),
            Err(error) => {
                if outcome.stats.credentials_refused && !replaced {
                    self.notify(Notice::CredentialsRejected(error.clone()), actions);
                }
                self.notify(Notice::RefreshFailed(error.clone()), actions);
                self.degrade(error.clone(), actions);
                self.note_refusal(outcome.refusal, replaced);
                if let Some(current) = &mut self.current {
                    current.wall_jump_handled = true;
                    current.has_uncertain_age = false;
                    current.committed.has_refresh &= !outcome.stats.spent;
                }
                self.last_failure = Some(Box::new(error.clone()));
                // A failure with the old credentials causes no pause for the new ones.
                self.pause = (!replaced).then(|| Pause::after(error, self.pause.take(), now, random));
                let usable_for = self.usable_for(now);
                if let Some(pause) = self.pause.as_mut().filter(|_| outcome.stats.leaves_maybe_spent) {
                    pause.postpone(usable_for, now);
                }
            }
        }
    }

    /// Takes over a refusal. If the credentials were replaced meanwhile, the refusal does not concern the new ones.
    fn note_refusal(&mut self, refusal: Option<Refusal>, replaced: bool) {
        let is_current = !replaced && self.credential_state != CredentialState::Absent;
        if let Some(refusal) = refusal.filter(|_| is_current) {
            self.credential_state = CredentialState::Refused(Box::new(refusal));
        }
    }

    fn degrade(&mut self, error: Error, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.degraded, true) {
            self.notify(Notice::Degraded(error), actions);
        }
    }
}
