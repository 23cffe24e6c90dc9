//! Single decisions of a flight: the step that follows from the result of the last one.

use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::flight::Flight;
use paymentsgate_auth::session::plan::Plan;
use paymentsgate_auth::status::Status;

#[test]
fn a_refresh_can_be_given_up_if_the_obstacle_to_issue_ends_soon() {
    for (status, expected) in [(Status::PG_ERR_REDIRECT, true), (Status::PG_ERR_REFUSED, false)] {
        let obstacle = Some(Box::new(Error::new(status, "no")));
        let flight = Flight::new(Plan { may_issue: false, obstacle, ..Plan::plain(0) }, None);
        assert_eq!(flight.may_recover(), expected, "{status:?}");
    }
}
