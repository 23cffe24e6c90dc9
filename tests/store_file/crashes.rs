//! kill -9 at every step, and forks. The lock is free at once, and no refresh token is handed out twice.

#![allow(unsafe_code, reason = "fork has no safe wrapper")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::clock::{Clock, SystemClock};
use paymentsgate_auth::store::{Keyring, RecordFile};
use paymentsgate_auth::token::Pair;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::disk::{AtOneStep, TestDisk, Trouble};
use crate::fixture::{
    access, account, beside, claim, folder, job, key, keyring, loaded, pair_at, record, seeded, start,
};
use crate::seal::holds;

/// The pairs of generation 1 and 2, as texts that no other bytes of a file are by chance.
const ACCESS: [&str; 2] = ["the-first-access-token", "the-second-access-token"];
const REFRESH: [&str; 2] = ["the first refresh token", "the second refresh token"];

fn pair(generation: usize) -> Pair {
    pair_at(ACCESS[generation - 1], REFRESH[generation - 1], SystemClock.now())
}

/// Writes a note into the folder, where it outlives the process.
fn note(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(format!("note-{name}.new")), text).unwrap();
    fs::rename(folder.join(format!("note-{name}.new")), folder.join(format!("note-{name}"))).unwrap();
}

fn noted(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(format!("note-{name}"))).ok()
}

fn await_note(folder: &Path, name: &str) -> String {
    let begun = Instant::now();
    loop {
        match noted(folder, name) {
            Some(text) => return text,
            None => assert!(begun.elapsed() < Duration::from_secs(60), "never: {name}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A whole flight, in a process that kills itself at the given step.
fn fly_and_die(folder: &Path, keyring: Option<Keyring>, at: u64) {
    let disk = Arc::new(TestDisk::new(AtOneStep::new(Trouble::Kill)));
    let record = RecordFile::new(folder, key("account"), keyring, Arc::new(SystemClock), disk.clone());
    disk.plan.arm(at);
    let here = || disk.step(|| Ok(())).unwrap();
    here();
    assert!(record.try_lock().unwrap());
    here();
    record.load().unwrap();
    let refresh = record.intend().unwrap().unwrap();
    here();
    note(folder, "presented", refresh.secret().expose());
    here();
    record.commit(1, &pair(2)).unwrap();
    note(folder, "committed", "");
    here();
    record.unlock();
    here();
}

#[test]
fn kill_9_at_every_step() {
    each_step_kills("crashes::kill_9_at_every_step", None);
}

#[test]
fn kill_9_at_every_step_of_a_sealed_flight() {
    each_step_kills("crashes::kill_9_at_every_step_of_a_sealed_flight", Some(&keyring(&[1])));
}

fn each_step_kills(name: &str, keyring: Option<&Keyring>) {
    if let Some((folder, at)) = job() {
        return fly_and_die(&folder, keyring.cloned(), at);
    }
    for at in 0.. {
        let folder = folder();
        let folder = folder.path();
        let first = account(folder, "account", keyring.cloned());
        assert!(first.try_lock().unwrap());
        first.commit(0, &pair(1)).unwrap();
        first.unlock();
        let path = first.path();
        let end = start(name, folder, at).wait().unwrap();
        assert!(end.success() || end.signal() == Some(9), "step {at}: {end}");
        check_clear_tokens(folder, path, keyring.is_some());
        let next = account(folder, "account", keyring.cloned());
        assert!(next.try_lock().unwrap(), "step {at}: a dead process holds the lock");
        let found = loaded(&next).unwrap();
        let offered = claim(&next);
        let presented = noted(folder, "presented");
        match found.generation() {
            1 => assert!(access(&found) == ACCESS[0] && noted(folder, "committed").is_none(), "step {at}"),
            2 => assert_eq!((access(&found), offered.as_deref()), (ACCESS[1], Some(REFRESH[1])), "step {at}"),
            other => panic!("step {at}: generation {other}"),
        }
        assert!(presented.is_none() || offered != presented, "step {at}: {presented:?} is presented twice");
        let left = beside(path, ".tmp-").len();
        assert!(
            left == 0 || offered.as_deref() == Some(REFRESH[0]),
            "step {at}: the files of a dead flight are removed"
        );
        if end.success() {
            assert!(at > 15 && found.generation() == 2);
            break;
        }
    }
}

/// No file of a sealed store has a token in clear. Without a key the record has, and a next one that is not renamed yet.
fn check_clear_tokens(folder: &Path, path: &Path, is_sealed: bool) {
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        let may_hold = !is_sealed && (file == path || beside(path, ".tmp-").contains(&file));
        // The notes are of the test.
        if !may_hold && !name.starts_with("note-") {
            let bytes = fs::read(&file).unwrap();
            let texts = ACCESS.iter().chain(&REFRESH);
            assert!(!texts.into_iter().any(|text| holds(&bytes, text.as_bytes())), "{name} has a token");
        }
    }
}

/// Takes the lock, forks, and runs `in_child` in the child; the parent waits until it is killed.
fn fork_with_the_lock(folder: &Path, in_child: impl FnOnce()) {
    let record = record(folder);
    assert!(record.try_lock().unwrap());
    // SAFETY: glibc keeps its allocator usable in the child, which runs only `in_child` and ends.
    match unsafe { libc::fork() } {
        0 => {
            in_child();
            // SAFETY: ends the child without the exit handlers of its parent.
            unsafe { libc::_exit(0) }
        }
        child => note(folder, "forked", &child.to_string()),
    }
    thread::sleep(Duration::from_secs(120));
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.parse().unwrap()).unwrap()
}

#[test]
fn a_forked_child_does_not_keep_the_lock_of_its_dead_parent() {
    if let Some((folder, _)) = job() {
        return fork_with_the_lock(&folder, || thread::sleep(Duration::from_secs(120)));
    }
    let (folder, _) = seeded();
    let name = "crashes::a_forked_child_does_not_keep_the_lock_of_its_dead_parent";
    let mut parent = start(name, folder.path(), 0);
    let child = pid(&await_note(folder.path(), "forked"));
    let next = record(folder.path());
    assert!(!next.try_lock().unwrap(), "the parent holds it");
    parent.kill().unwrap();
    parent.wait().unwrap();
    let is_free = next.try_lock().unwrap();
    assert!(test_kill_process(child).is_ok(), "the child lives");
    kill_process(child, Signal::KILL).unwrap();
    assert!(is_free, "the child does not hold it");
}

#[test]
fn a_forked_child_neither_holds_nor_frees_the_lock_of_its_parent() {
    if let Some((folder, _)) = job() {
        return fork_with_the_lock(&folder.clone(), || {
            let own = record(&folder);
            let got_it = own.try_lock().unwrap();
            let found = loaded(&own).unwrap().generation();
            drop(own);
            note(&folder, "child", &format!("{got_it} {found}"));
        });
    }
    let (folder, _) = seeded();
    let name = "crashes::a_forked_child_neither_holds_nor_frees_the_lock_of_its_parent";
    let mut parent = start(name, folder.path(), 0);
    assert_eq!(await_note(folder.path(), "child"), "false 1");
    let child = pid(&await_note(folder.path(), "forked"));
    let begun = Instant::now();
    while fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()))
        .is_ok_and(|stat| !stat.contains(") Z "))
    {
        assert!(begun.elapsed() < Duration::from_secs(60), "the child does not end");
    }
    let is_free = record(folder.path()).try_lock().unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(!is_free, "the parent still holds it");
}
