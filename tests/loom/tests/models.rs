//! Every model, by name.

use pg_loom::handoff;

#[test]
fn an_answer_is_lost_only_by_a_caller_who_took_the_giver_back() {
    handoff::an_answer_is_lost_only_by_a_caller_who_took_the_giver_back();
}
