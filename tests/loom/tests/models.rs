//! Every model, by name.

use pg_loom::{hazard_cell, one_shot};

#[test]
fn an_answer_is_lost_only_if_the_caller_took_the_sender_back() {
    one_shot::an_answer_is_lost_only_if_the_caller_took_the_sender_back();
}

#[test]
fn one_thread_reads_while_another_replaces() {
    hazard_cell::one_thread_reads_while_another_replaces();
}

#[test]
fn one_thread_tries_to_read_while_another_replaces() {
    hazard_cell::one_thread_tries_to_read_while_another_replaces();
}

#[test]
fn one_thread_reads_while_two_replace() {
    hazard_cell::one_thread_reads_while_two_replace();
}

#[test]
fn one_thread_reads_inside_a_read_while_another_replaces() {
    hazard_cell::one_thread_reads_inside_a_read_while_another_replaces();
}
