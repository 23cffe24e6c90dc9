//! `login`: obtains a session and saves it, unless there is one.

use paymentsgate_auth::{Committed, Operator, Phase, Renewal};

use crate::arguments::LoginArguments;
use crate::exit::Exit;
use crate::page::{Page, span};
use crate::settings::Settings;
use crate::{Trouble, keeping_operator};

pub(crate) fn run(arguments: &LoginArguments, settings: &Settings, page: &mut Page) -> Result<Exit, Trouble> {
    let operator = keeping_operator(settings)?;
    let found = operator.look()?;
    let place = &found.store_name;
    let stored = found.loaded.committed.as_ref().filter(|stored| operator.phase(stored) < Phase::Expired);
    if let Some(stored) = stored.filter(|_| !arguments.force) {
        page.say(&format!("Logged in already: {}, saved in {place}.", described(&operator, stored)))?;
        page.say("`login --force` obtains a new session, `refresh` a new token.")?;
        return Ok(Exit::Done);
    }
    let renewal = if arguments.force { Renewal::ForcedIssue } else { Renewal::Issue };
    let outcome = operator.renew(&found, renewal, arguments.patience.timeout())?;
    let committed = outcome.result?;
    let how = if outcome.stats.adopted { "Another process has logged in meanwhile" } else { "Logged in" };
    page.say(&format!("{how}: {}, saved in {place}.", described(&operator, &committed)))?;
    Ok(Exit::Done)
}

fn described(operator: &Operator, committed: &Committed) -> String {
    let token = committed.token();
    let left = span(token.remaining(operator.now()));
    format!("token {} of generation {}, {left} left", token.fingerprint(), committed.generation())
}
