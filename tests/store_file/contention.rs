//! Many threads and processes on one record.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{Lock, Store};
use tokio::runtime::{Builder, Runtime};

use crate::fixture::{PATIENCE, access, folder, job, loaded, pair, record, seeded, start, store};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Refreshes this many times, whatever the others do, and checks that it holds the lock alone.
fn refresh(folder: &Path, times: u64, number: u64) {
    let store = store(folder, PATIENCE);
    runtime().block_on(async {
        for time in 0..times {
            assert_eq!(store.lock(u64::MAX).await.unwrap(), Lock::Held);
            let before = store.load().await.unwrap().committed.unwrap();
            let refresh =
                store.intend().await.unwrap().expect("no process died, so there is a refresh token");
            let alone = folder.join("somebody-is-at-it");
            File::create_new(&alone).expect("one flight at a time");
            let token = refresh.secret().expose();
            File::create_new(folder.join(format!("spent-{token}"))).expect("presented once");
            let next = store.commit(before.generation(), pair(number * 1000 + time)).await.unwrap();
            assert_eq!(next.generation(), before.generation() + 1);
            fs::remove_file(alone).unwrap();
            store.unlock().await.unwrap();
        }
    });
}

fn assert_flights(folder: &Path, count: u64) {
    assert_eq!(loaded(&record(folder)).unwrap().generation(), 1 + count);
    let spent = fs::read_dir(folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("spent-"));
    assert_eq!(spent.count() as u64, count);
}

#[test]
fn forty_threads_have_one_flight_at_a_time() {
    let (folder, _) = seeded();
    thread::scope(|scope| {
        for number in 1..=40 {
            let folder = folder.path();
            scope.spawn(move || refresh(folder, 2, number));
        }
    });
    assert_flights(folder.path(), 80);
}

#[test]
fn twenty_processes_have_one_flight_at_a_time() {
    if let Some((folder, number)) = job() {
        return refresh(&folder, 3, number);
    }
    let (folder, _) = seeded();
    let name = "contention::twenty_processes_have_one_flight_at_a_time";
    let children: Vec<_> = (1..=20).map(|number| start(name, folder.path(), number)).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_flights(folder.path(), 60);
}

#[test]
fn one_of_many_threads_flies_and_the_others_adopt_its_pair() {
    let (folder, _) = seeded();
    let (together, flights) = (Barrier::new(40), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let store = store(folder.path(), PATIENCE);
                let runtime = runtime();
                together.wait();
                runtime.block_on(async {
                    store.lock(1).await.unwrap();
                    let found = store.load().await.unwrap().committed.unwrap();
                    if found.generation() == 1 {
                        flights.fetch_add(1, Ordering::SeqCst);
                        assert!(store.intend().await.unwrap().is_some());
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        store.commit(1, pair(2)).await.unwrap();
                    } else {
                        assert_eq!(access(&found), "a2");
                    }
                    store.unlock().await.unwrap();
                });
            });
        }
    });
    assert_eq!(flights.into_inner(), 1);
}

#[test]
fn a_waiter_gets_the_newer_pair_while_the_lock_is_held() {
    let (folder, _) = seeded();
    let (ours, theirs) = (store(folder.path(), PATIENCE), record(folder.path()));
    assert!(theirs.try_lock().unwrap() && loaded(&theirs).is_some());
    theirs.commit(1, &pair(2)).unwrap();
    runtime().block_on(async {
        assert_eq!(ours.lock(1).await.unwrap(), Lock::Moved);
        assert_eq!(ours.load().await.unwrap().committed.unwrap().generation(), 2);
        // A record that was loaded and did not suffice is not offered again.
        let again = tokio::time::timeout(Duration::from_millis(600), ours.lock(1)).await;
        assert!(again.is_err(), "it waits for a newer record");
    });
}

#[test]
fn a_wait_for_the_lock_ends_with_an_error_that_says_what_to_look_for() {
    let folder = folder();
    let theirs = record(folder.path());
    assert!(theirs.try_lock().unwrap());
    let patience = Duration::from_millis(400);
    let ours = store(folder.path(), patience);
    let begun = Instant::now();
    let error = runtime().block_on(ours.lock(0)).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_STORE);
    assert!(error.text.contains(theirs.path().to_str().unwrap()), "{}", error.text);
    assert!(begun.elapsed() >= patience);
    theirs.unlock();
    assert_eq!(runtime().block_on(ours.lock(0)).unwrap(), Lock::Held);
}
