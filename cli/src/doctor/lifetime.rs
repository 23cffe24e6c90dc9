//! Checks how long the service's tokens live, from the record in the store, or from the token that `--issue` has obtained.
//! Spends nothing.

use std::time::Duration;

use paymentsgate_auth::{Committed, Lifetime, Windows};

use super::check::Check;
use super::span;

pub(super) const LIFETIME: &str = "lifetime";

/// The documented lifetime, and how much a measured one may differ.
const EXPECTED: Duration = Duration::from_secs(3600);
const TOLERANCE: Duration = Duration::from_secs(60);
/// With a shorter lifetime the service is called at least four times as often as expected.
const SHORT: Duration = Duration::from_secs(900);
/// A longer lifetime counts as this one.
const LONGEST: Duration = Duration::from_secs(86_400);
/// What counts if the service says nothing that can be used.
const ASSUMED: Duration = Duration::from_secs(300);

/// `None`: there is no token.
pub(super) fn examine(found: Option<&Committed>) -> Check {
    let Some(found) = found else {
        return Check::not_run(LIFETIME, "no session yet; `paymentsgate-auth login` first");
    };
    let lifetime = &found.token().lifetime;
    let check = judge(lifetime);
    match fault(lifetime) {
        Some(fault) => {
            let text = format!("{}; {fault}; report it to the service's support", check.text);
            Check::warning(LIFETIME, text)
        }
        None => check,
    }
}

/// What is wrong with what the service says of a lifetime. Only a token that was just issued has it: a record does not.
fn fault(lifetime: &Lifetime) -> Option<String> {
    let differ = (!lifetime.disagreement.is_zero()).then(|| {
        let apart = seconds(lifetime.disagreement);
        format!(
            "what the service says of it (expires_in, the token's exp and iat, Date) differs by {apart}, and the smallest counts: \
             one of its clocks is wrong"
        )
    });
    // What is longer than a day is said by the length.
    let remark = lifetime.remark.filter(|_| lifetime.length < LONGEST).map(|remark| remark.text().to_owned());
    let faults: Vec<_> = remark.into_iter().chain(differ).collect();
    (!faults.is_empty()).then(|| faults.join("; "))
}

fn judge(lifetime: &Lifetime) -> Check {
    let length = lifetime.length;
    let renewed_after = span(length.saturating_sub(Windows::of(lifetime).advisory));
    let said = format!("the token was issued for {}", seconds(length));
    if length.abs_diff(EXPECTED) <= TOLERANCE {
        return Check::ok(LIFETIME, format!("{said}, as documented"));
    }
    let expected = seconds(EXPECTED);
    if length >= LONGEST {
        let text = format!(
            "{said} or longer, not for {expected}; it counts as a day, so tokens are renewed daily; ask the service's support \
             whether this is meant"
        );
        return Check::warning(LIFETIME, text);
    }
    if length >= SHORT {
        return Check::ok(
            LIFETIME,
            format!("{said}, not for {expected}; it is renewed after {renewed_after}"),
        );
    }
    let cause = if length == ASSUMED {
        "this also counts if the service gives no lifetime"
    } else {
        "the service may hand out tokens that it issued earlier, or its clock may be wrong"
    };
    let text = format!(
        "{said}, not for {expected}, so tokens are renewed after {renewed_after}: {cause}; ask the service's support whether \
         this is meant"
    );
    Check::warning(LIFETIME, text)
}

fn seconds(length: Duration) -> String {
    format!("{} s", length.as_secs())
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn a_lifetime_that_is_not_the_documented_one_is_reported_with_what_it_means() {
        for (seconds, verdict, words) in [
            (3600, Verdict::Ok, "3600 s, as documented"),
            (3599, Verdict::Ok, "as documented"),
            (1800, Verdict::Ok, "not for 3600 s; it is renewed after 24 min"),
            (14_400, Verdict::Ok, "not for 3600 s"),
            (86_399, Verdict::Ok, "not for 3600 s"),
            (86_400, Verdict::Warning, "counts as a day"),
            (899, Verdict::Warning, "issued earlier"),
            (300, Verdict::Warning, "gives no lifetime"),
            (20, Verdict::Warning, "renewed after 10 s"),
        ] {
            let check = judge(&Lifetime::of(Duration::from_secs(seconds)));
            assert!(check.result == verdict && check.text.contains(words), "{seconds}: {}", check.text);
        }
        assert_eq!(examine(None).result, Verdict::NotRun);
    }

    #[test]
    fn what_is_wrong_with_what_the_service_says_is_told() {
        let hour = Lifetime::of(Duration::from_secs(3600));
        assert_eq!(fault(&hour), None);
        let text = fault(&Lifetime { disagreement: Duration::from_secs(61), ..hour }).unwrap();
        assert!(text.contains("differs by 61 s"), "{text}");
        let month = Lifetime::of(Duration::from_secs(30 * 86_400));
        assert!(month.remark.is_some());
        assert_eq!(fault(&month), None, "the length says it");
        let text = fault(&Lifetime { remark: month.remark, ..hour }).unwrap();
        assert!(text.contains("more than a day"), "{text}");
    }
}
