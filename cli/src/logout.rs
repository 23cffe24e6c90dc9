//! `logout`: removes the account's session from the store.

use std::time::Duration;

use crate::exit::Exit;
use crate::page::Page;
use crate::settings::Settings;
use crate::{Trouble, keeping_operator};

/// Longer than any flight that has the lock.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(settings: &Settings, page: &mut Page) -> Result<Exit, Trouble> {
    let operator = keeping_operator(settings)?;
    // A record may be removed even if its key is lost.
    let found = operator.look().ok();
    operator.forget(PATIENCE)?;
    // Not the value of the setting, which may contain a password.
    let place = found.as_ref().map_or("the store", |found| &found.store_name);
    if found.as_ref().is_none_or(|found| found.form.is_some()) {
        page.say(&format!("Logged out: the account's session was removed from {place}."))?;
    } else {
        page.say(&format!("There was no session of this account in {place}."))?;
    }
    page.say("Tokens that programs already have work until they expire: no way to revoke them at the service is known.")?;
    page.say(
        "A running program with this store keeps its token, and obtains a new session when a renewal is due.",
    )?;
    Ok(Exit::Done)
}
