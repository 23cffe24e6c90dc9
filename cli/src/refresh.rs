//! `refresh`: obtains a new token now.

use paymentsgate_auth::Renewal;

use crate::arguments::RefreshArguments;
use crate::exit::Exit;
use crate::page::{PLAIN, Page};
use crate::settings::Settings;
use crate::{Trouble, keeping_operator};

pub(crate) fn run(
    arguments: &RefreshArguments,
    settings: &Settings,
    page: &mut Page,
) -> Result<Exit, Trouble> {
    let operator = keeping_operator(settings)?;
    let found = operator.look()?;
    let outcome = operator.renew(&found, Renewal::Durable, arguments.patience.timeout())?;
    let committed = outcome.result?;
    let how = match (outcome.stats.adopted, outcome.stats.issues, outcome.stats.ambiguous) {
        (true, ..) => "another process",
        (false, 0, _) => "the refresh token",
        (false, _, true) => "the credentials, because the answer to the refresh was lost",
        (false, _, false) => "the credentials, because no refresh token could be used",
    };
    let token = committed.token();
    for (label, text) in [
        ("fingerprint", token.fingerprint().to_string()),
        ("generation", committed.generation().to_string()),
        ("seconds left", token.remaining(operator.now()).as_secs().to_string()),
        ("source", how.to_owned()),
    ] {
        page.row(label, 12, PLAIN, &text)?;
    }
    Ok(Exit::Done)
}
