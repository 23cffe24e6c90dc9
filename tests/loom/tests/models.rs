//! Every model, by name.

use pg_loom::queue_models;
use pg_loom::runtime::{cell_models, count_models, load_models, process_models, slot_models};
use pg_loom::session::{counter_models, timer_models};

macro_rules! models {
    ($($module:ident: $($model:ident)*;)*) => {
        $($(#[test] fn $model() { $module::$model(); })*)*
    };
}

models! {
    cell_models:
        one_reads_while_another_replaces
        one_reads_twice_while_another_replaces
        one_tries_to_read_while_another_replaces
        one_reads_while_two_replace
        one_reads_inside_a_read_while_another_replaces;
    count_models:
        one_drops_its_share_while_the_shards_are_closed
        one_copies_its_share_while_the_shards_are_closed
        two_drop_shares_while_the_shards_are_closed
        two_open_the_shards;
    load_models:
        our_thread_takes_work_that_callers_leave
        our_thread_takes_work_that_no_caller_drives
        our_thread_leaves_when_another_one_ends_the_work;
    slot_models: slots_go_from_thread_to_thread;
    process_models:
        threads_that_race_have_one_value
        threads_that_race_replace_a_value_once;
    counter_models: no_count_is_lost;
    timer_models:
        a_timer_that_is_due_fires_once
        one_task_is_started
        a_word_that_stays_set_has_a_task;
    queue_models:
        each_waiter_gets_an_event
        an_operation_that_is_canceled_has_one_event
        a_late_end_does_not_end_the_next_operation_of_its_number;
}
