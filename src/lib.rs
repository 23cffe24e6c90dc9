//! Keeps a PaymentsGate session alive.
