//! Every model, by name.

use pg_loom::hazard_cell;

#[test]
fn one_reads_while_another_replaces() {
    hazard_cell::one_reads_while_another_replaces();
}

#[test]
fn one_tries_to_read_while_another_replaces() {
    hazard_cell::one_tries_to_read_while_another_replaces();
}

#[test]
fn one_reads_while_two_replace() {
    hazard_cell::one_reads_while_two_replace();
}

#[test]
fn one_reads_inside_a_read_while_another_replaces() {
    hazard_cell::one_reads_inside_a_read_while_another_replaces();
}
