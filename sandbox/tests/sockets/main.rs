//! The emulator over real sockets: its answers, its faults and its control.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod binary;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod service;
