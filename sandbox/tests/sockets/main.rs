//! The emulator over real sockets: what it answers, how it fails, and how it is steered.

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
