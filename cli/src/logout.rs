//! `logout`: the account's session is removed from the store.

use std::time::Duration;

use crate::exit::Exit;
use crate::page::Page;
use crate::settings::Settings;
use crate::{Trouble, keeping_operator};

/// Longer than any flight that has the lock.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(settings: &Settings, page: &mut Page) -> Result<Exit, Trouble> {
    let operator = keeping_operator(settings)?;
    // Whoever has lost the key of a record still may remove it.
    let found = operator.look().ok();
    operator.forget(PATIENCE)?;
    // Not the setting, which may hold a password.
    let place = found.as_ref().map_or("the store", |found| &found.store_name);
    if found.as_ref().is_none_or(|found| found.form.is_some()) {
        page.say(&format!("Logged out: the account's session is removed from {place}."))?;
    } else {
        page.say(&format!("There was no session of this account in {place}."))?;
    }
    page.say("Tokens that were handed out already work until they expire: the service has no revocation known to us.")?;
    page.say(
        "A program that is running with this store keeps its token, and buys a new session when that is due.",
    )?;
    Ok(Exit::Done)
}
