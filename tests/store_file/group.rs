//! A folder that the users of one group share: two real users, one of them with a narrow umask, and all that is refused.

#![allow(unsafe_code, reason = "a process that becomes another user has no safe wrapper")]

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use paymentsgate_auth::clock::SystemClock;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::store::{FileStore, Form, Lock, RecordFile, Store, StoreMode, SystemDisk};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::disk::{AtOneStep, Interrupted, TestDisk, Trouble};
use crate::fixture::{
    PATIENCE, access, account, beside, claim, is_root, job, key, loaded, pair, record, start,
};

/// The group that both users are in.
const GROUP: u32 = 4300;
/// The user whose first group is the shared one, with a narrow umask.
const FIRST: u64 = 1;
/// The user who has the shared group as a further one, as in a pod with `fsGroup`.
const SECOND: u64 = 2;
/// A user of another group.
const STRANGER: u64 = 3;

/// This process becomes one of the users.
fn become_user(user: u64) {
    let (uid, gid, groups, umask) = match user {
        FIRST => (4301, GROUP, vec![], 0o077),
        SECOND => (4302, 4302, vec![GROUP], 0o022),
        _ => (4303, 4303, vec![], 0o022),
    };
    // SAFETY: the pointer is to as many groups as the length says; glibc changes the user of all threads.
    unsafe {
        libc::umask(umask);
        assert_eq!(libc::setgroups(groups.len(), groups.as_ptr()), 0);
        assert_eq!(libc::setgid(gid), 0);
        assert_eq!(libc::setuid(uid), 0);
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The mode and the group.
fn rights(path: &Path) -> (u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.mode() & 0o7777, found.gid())
}

/// A folder of root and the group, in a folder that everybody can reach.
fn shared(mode: u32) -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    chmod(parent.path(), 0o755);
    let folder = parent.path().join("sessions");
    fs::create_dir(&folder).unwrap();
    chown(&folder, None, Some(GROUP)).unwrap();
    chmod(&folder, mode);
    (parent, folder)
}

fn group_record(folder: &Path) -> RecordFile {
    record(folder).with_mode(StoreMode::Group)
}

fn group_store(folder: &Path) -> FileStore {
    FileStore::new(folder, StoreMode::Group, key("account"), None, Arc::new(SystemClock), PATIENCE).unwrap()
}

/// A whole flight, which takes the refresh token of the generation before it.
fn fly(record: &RecordFile, number: u64) {
    assert!(record.try_lock().unwrap());
    let before = loaded(record).map_or(0, |found| found.generation());
    if before > 0 {
        assert_eq!(claim(record), Some(format!("r{before}")));
    }
    assert_eq!(record.commit(before, &pair(number)).unwrap().generation(), before + 1);
    record.unlock();
}

/// The number of a job: which user, and a number for the job.
fn numbered(user: u64, number: u64) -> u64 {
    number * 10 + user
}

fn assert_done(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

/// Checks that the error names the path, the setting or what to do.
#[track_caller]
fn assert_says(error: &Error, status: Status, words: &[&str]) {
    assert_eq!(error.status, status, "{error}");
    words.iter().for_each(|word| assert!(error.text.contains(word), "{word}: {error}"));
}

const REFUSED: Status = Status::PG_ERR_STORE_REFUSED;

#[test]
fn two_users_refresh_in_turn_and_adopt_each_others_pairs() {
    const NAME: &str = "group::two_users_refresh_in_turn_and_adopt_each_others_pairs";
    if let Some((folder, number)) = job() {
        become_user(number % 10);
        return fly(&group_record(&folder), number / 10);
    }
    if !is_root("two users refresh in turn") {
        return;
    }
    // As the volume of a pod, as a folder made by hand, and as one without the setgid bit.
    for mode in [0o2775, 0o2770, 0o770] {
        let (_parent, folder) = shared(mode);
        for turn in 1..=4 {
            let user = if turn % 2 == 1 { FIRST } else { SECOND };
            assert_done(start(NAME, &folder, numbered(user, turn)));
            let record = group_record(&folder);
            assert_eq!(loaded(&record).unwrap().generation(), turn, "root can look, too");
            let lock = beside(record.path(), ".lock").remove(0);
            assert_eq!(rights(record.path()), (0o660, GROUP), "{mode:o}, turn {turn}");
            assert_eq!(rights(&lock), (0o660, GROUP), "{mode:o}, turn {turn}");
            assert_eq!(fs::metadata(record.path()).unwrap().uid(), 4300 + user as u32);
            assert!(beside(record.path(), ".tmp-").is_empty());
        }
        assert_eq!(rights(&folder), (mode, GROUP));
    }
}

/// The folder does not exist at first: one of them makes it.
#[test]
fn processes_of_two_users_have_one_flight_at_a_time() {
    const NAME: &str = "group::processes_of_two_users_have_one_flight_at_a_time";
    if let Some((folder, number)) = job() {
        become_user(number % 10);
        let store = group_store(&folder);
        return Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            for time in 0..5 {
                assert_eq!(store.lock(u64::MAX).await.unwrap(), Lock::Held);
                let before = store.load().await.unwrap().committed.map_or(0, |found| found.generation());
                let alone = folder.join("somebody-is-at-it");
                File::create_new(&alone).expect("one flight at a time");
                if before > 0 {
                    let refresh = store.intend().await.unwrap().expect("nobody died");
                    let token = refresh.secret().expose().to_owned();
                    File::create_new(folder.join(format!("spent-{token}"))).expect("presented once");
                }
                let next = store.commit(before, pair(number * 100 + time)).await.unwrap();
                assert_eq!(next.generation(), before + 1);
                fs::remove_file(alone).unwrap();
                store.unlock().await.unwrap();
            }
        });
    }
    if !is_root("processes of two users") {
        return;
    }
    // An empty volume of a pod: everybody may write to it, so the folder in it is the store.
    let (_parent, volume) = shared(0o2777);
    let folder = volume.join("sessions");
    let children: Vec<_> = (1..=8)
        .map(|number| start(NAME, &folder, numbered(if number % 2 == 1 { FIRST } else { SECOND }, number)))
        .collect();
    children.into_iter().for_each(assert_done);
    assert_eq!(loaded(&group_record(&folder)).unwrap().generation(), 40);
    assert_eq!(rights(&folder), (0o2770, GROUP));
    assert_eq!(fs::read_dir(&volume).unwrap().count(), 1, "no folder of an attempt is left");
}

/// A flight of the first user that ends at a step, by kill -9.
fn fly_and_die(folder: &Path, at: u64) {
    let disk = Arc::new(TestDisk::new(AtOneStep::new(Trouble::Kill)));
    let record = RecordFile::new(folder, key("account"), None, Arc::new(SystemClock), disk.clone())
        .with_mode(StoreMode::Group);
    disk.plan.arm(at);
    assert!(record.try_lock().unwrap());
    let before = loaded(&record).map_or(0, |found| found.generation());
    if let Some(refresh) = record.intend().unwrap() {
        File::create_new(folder.join(format!("spent-{}", refresh.secret().expose()))).unwrap();
    }
    record.commit(before, &pair(before + 1)).unwrap();
    record.unlock();
}

/// What the second user finds, and does.
fn take_over(folder: &Path, seed: u64) {
    let record = group_record(folder);
    assert!(record.try_lock().unwrap(), "a dead process holds the lock");
    let found = loaded(&record).map_or(0, |found| found.generation());
    assert!([seed, seed + 1].contains(&found), "{found}");
    if let Some(refresh) = claim(&record) {
        assert!(!folder.join(format!("spent-{refresh}")).exists(), "{refresh} is presented twice");
    }
    assert_eq!(record.commit(found, &pair(7)).unwrap().generation(), found + 1);
    record.unlock();
    assert_eq!(access(&loaded(&record).unwrap()), "a7");
}

#[test]
fn kill_9_at_every_step_of_one_user_is_survived_by_the_other() {
    const NAME: &str = "group::kill_9_at_every_step_of_one_user_is_survived_by_the_other";
    const SEEDED: u64 = 1000;
    const DIES: u64 = 10_000;
    if let Some((folder, number)) = job() {
        become_user(number % 10);
        let number = number / 10;
        return match number / DIES {
            0 => take_over(&folder, number / SEEDED),
            _ => fly_and_die(&folder, number % SEEDED),
        };
    }
    if !is_root("kill -9 with two users") {
        return;
    }
    // The first flight of all, which makes the lock file, and a later one.
    for (seed, least) in [(0, 12), (1, 12)] {
        for at in 0.. {
            let (_parent, folder) = shared(0o2770);
            if seed == 1 {
                fly(&group_record(&folder), 1);
            }
            let end = start(NAME, &folder, numbered(FIRST, DIES + at)).wait().unwrap();
            assert!(end.success() || end.signal() == Some(9), "step {at}: {end}");
            let next = start(NAME, &folder, numbered(SECOND, seed * SEEDED)).wait().unwrap();
            assert!(next.success(), "seed {seed}, step {at}");
            if end.success() {
                assert!(at > least, "{at}");
                break;
            }
        }
    }
}

#[test]
fn one_user_can_set_aside_and_remove_what_the_other_wrote() {
    const NAME: &str = "group::one_user_can_set_aside_and_remove_what_the_other_wrote";
    if let Some((folder, number)) = job() {
        become_user(number % 10);
        let record = group_record(&folder);
        if number % 10 == FIRST {
            fly(&record, 1);
            fs::write(format!("{}.tmp-1-2", record.path().display()), "tokens").unwrap();
            return fs::write(record.path(), "broken").unwrap();
        }
        assert_eq!(record.inspect().unwrap().form, Some(Form::Broken));
        assert!(record.try_lock().unwrap() && loaded(&record).is_none());
        let aside = beside(record.path(), ".corrupt-").remove(0);
        assert_eq!((rights(&aside), fs::read(&aside).unwrap().as_slice()), ((0o660, GROUP), &b"broken"[..]));
        fs::remove_file(aside).unwrap();
        record.unlock();
        fly(&record, 2);
        assert!(record.try_lock().unwrap());
        record.forget().unwrap();
        assert_eq!(beside(record.path(), ""), beside(record.path(), ".lock"));
        return;
    }
    if !is_root("a broken record of another user") {
        return;
    }
    let (_parent, folder) = shared(0o2770);
    for user in [FIRST, SECOND] {
        assert_done(start(NAME, &folder, numbered(user, 0)));
    }
}

#[test]
fn a_program_with_another_store_mode_is_refused_with_the_name_of_the_setting() {
    const NAME: &str = "group::a_program_with_another_store_mode_is_refused_with_the_name_of_the_setting";
    if let Some((folder, number)) = job() {
        become_user(number % 10);
        let folder = if number >= 10 { folder.join("own") } else { folder };
        let (private, group) = (record(&folder), group_record(&folder));
        return match (number % 10, number / 10) {
            (FIRST, 0) => fly(&group, 1),
            (FIRST, _) => fly(&private, 1),
            (SECOND, 0) => {
                for error in [private.try_lock().unwrap_err(), private.load().unwrap_err()] {
                    assert_says(&error, REFUSED, &["pg-group", "set store_mode to group"]);
                }
                assert_says(&private.inspect().unwrap_err(), REFUSED, &["set store_mode to group"]);
                fly(&group, 2);
            }
            (SECOND, _) => {
                let error = group.try_lock().unwrap_err();
                assert_says(&error, Status::PG_ERR_STORE, &["Permission denied", "set store_mode to group"]);
                let error = private.try_lock().unwrap_err();
                assert_says(&error, Status::PG_ERR_STORE, &["Permission denied", "set store_mode to group"]);
            }
            _ => {
                let error = group.try_lock().unwrap_err();
                assert_says(&error, REFUSED, &["belongs to group 4300", "user 4303", "fsGroup"]);
            }
        };
    }
    if !is_root("programs with different modes") {
        return;
    }
    // Everybody can read its names, as in the volume of a pod.
    let (_parent, folder) = shared(0o2775);
    for job in [FIRST, SECOND, STRANGER, numbered(FIRST, 1), numbered(SECOND, 1)] {
        assert_done(start(NAME, &folder, job));
    }
}

/// A private program of the same user: it does not narrow the modes of the others, and a group does not widen its own.
#[test]
fn neither_mode_changes_the_permissions_of_the_other() {
    let parent = tempfile::tempdir().unwrap();
    let [private, group] = ["private", "group"].map(|name| parent.path().join(name));
    fly(&record(&private), 1);
    fly(&group_record(&group), 1);
    assert_eq!(rights(&group).0, 0o2770);
    let error = record(&group).try_lock().unwrap_err();
    assert_says(&error, REFUSED, &[group.to_str().unwrap(), "set store_mode to group"]);
    assert_says(&record(&group).load().unwrap_err(), REFUSED, &["store_mode is private"]);
    let error = group_record(&private).try_lock().unwrap_err();
    assert_says(&error, REFUSED, &["mode 700", "chmod 2770", "set store_mode to private"]);
    let record = group_record(&private);
    assert_says(&record.load().unwrap_err(), REFUSED, &["mode 600", "store_mode is group", "chmod 660"]);
    assert_says(&record.inspect().unwrap_err(), REFUSED, &["chmod 2770"]);
    assert_eq!((rights(&private).0, rights(record.path()).0), (0o700, 0o600));
    assert_eq!(rights(group_record(&group).path()).0, 0o660);
}

#[test]
fn a_folder_in_which_others_can_replace_files_is_corrected_or_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("sessions");
    fs::create_dir(&folder).unwrap();
    let lock = || group_record(&folder).try_lock();
    for mode in [0o1770, 0o3770, 0o1777] {
        chmod(&folder, mode);
        let error = lock().unwrap_err();
        assert_says(&error, REFUSED, &[&format!("mode {mode:o}"), "sticky bit", "`chmod -t "]);
    }
    for mode in [0o700, 0o750, 0o2720] {
        chmod(&folder, mode);
        assert_says(&lock().unwrap_err(), REFUSED, &["may not use it", "`chmod 2770 "]);
    }
    chmod(&folder, 0o2777);
    let store = group_store(&folder);
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        store.lock(9).await.unwrap();
        store.unlock().await.unwrap();
    });
    assert_eq!(rights(&folder).0, 0o2775);
    assert!(store.warning().unwrap().contains("(mode 2777); its mode is 2775 now"), "{:?}", store.warning());
    if is_root("a folder of another user") {
        chmod(&folder, 0o2777);
        chown(&folder, Some(4301), None).unwrap();
        assert_says(&lock().unwrap_err(), REFUSED, &["name a folder in it that does not exist yet"]);
    }
}

#[test]
fn a_file_that_others_could_have_written_or_can_read_is_corrected_or_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("sessions");
    let record = group_record(&folder);
    fly(&record, 1);
    let lock = beside(record.path(), ".lock").remove(0);
    for file in [record.path(), &lock] {
        chmod(file, 0o666);
    }
    assert!(record.try_lock().unwrap() && loaded(&record).is_some());
    record.unlock();
    assert_eq!((rights(record.path()).0, rights(&lock).0), (0o660, 0o660));
    chmod(record.path(), 0o640);
    assert_says(&record.load().unwrap_err(), REFUSED, &["mode 640", "`chmod 660 "]);
    chmod(record.path(), 0o660);
    if is_root("files of other users and groups") {
        chown(record.path(), Some(4301), None).unwrap();
        assert!(loaded(&record).is_some(), "the owner may be any member of the group");
        chmod(record.path(), 0o664);
        assert_says(
            &record.load().unwrap_err(),
            REFUSED,
            &["everybody may use it (mode 664)", "`chmod 660 "],
        );
        chmod(record.path(), 0o660);
        chown(record.path(), None, Some(4303)).unwrap();
        assert_says(&record.load().unwrap_err(), REFUSED, &["group 4303", "store_mode", "`chgrp "]);
    }
    let elsewhere = folder.join("elsewhere");
    fs::rename(record.path(), &elsewhere).unwrap();
    symlink(&elsewhere, record.path()).unwrap();
    assert_says(&record.load().unwrap_err(), REFUSED, &["symbolic link"]);
    fs::rename(&lock, &elsewhere).unwrap();
    symlink(&elsewhere, &lock).unwrap();
    assert_says(&record.try_lock().unwrap_err(), REFUSED, &["symbolic link"]);
}

/// Two threads make the lock file at once. Closing a descriptor of it would free the lock of the other.
#[test]
fn the_first_lock_of_many_threads_excludes_the_others() {
    for _ in 0..20 {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("sessions");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let record = account(&folder, "account", None).with_mode(StoreMode::Group);
                    while !record.try_lock().unwrap() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    let alone = folder.join("somebody-is-at-it");
                    File::create_new(&alone).expect("one at a time");
                    fs::remove_file(alone).unwrap();
                });
            }
        });
        let record =
            RecordFile::new(&folder, key("account"), None, Arc::new(SystemClock), Arc::new(SystemDisk));
        assert!(beside(record.path(), ".tmp-").is_empty());
    }
}

/// Root's own folders are good, but not those in which everybody can replace files.
#[test]
fn a_private_program_refuses_a_folder_of_root_that_everybody_can_write_to() {
    const NAME: &str = "group::a_private_program_refuses_a_folder_of_root_that_everybody_can_write_to";
    if let Some((folder, number)) = job() {
        become_user(number);
        let error = record(&folder).try_lock().unwrap_err();
        let place = format!("chmod go-w {}", folder.display());
        return assert_says(&error, REFUSED, &["replace files", "(mode 777)", "user 0", &place]);
    }
    if !is_root("a folder of root that everybody can write to") {
        return;
    }
    let (_parent, folder) = shared(0o777);
    assert_done(start(NAME, &folder, STRANGER));
    assert!(fs::read_dir(&folder).unwrap().next().is_none(), "nothing was made in it");
}

/// The record in it could be read, but nobody has checked who can replace it. An empty one could be replaced.
#[test]
fn a_folder_that_cannot_be_opened_is_an_error_for_a_look_and_stays_as_it_is() {
    const NAME: &str = "group::a_folder_that_cannot_be_opened_is_an_error_for_a_look_and_stays_as_it_is";
    if let Some((folder, number)) = job() {
        become_user(number);
        for (name, mode, record) in
            [("private", 0o300, record as fn(&Path) -> _), ("group", 0o2330, group_record)]
        {
            let folder = folder.join(name);
            let record = record(&folder);
            fly(&record, 1);
            chmod(&folder, mode);
            let error = record.inspect().unwrap_err();
            let place = format!("cannot open {}: Permission denied", folder.display());
            assert_says(&error, Status::PG_ERR_STORE, &[&place, "store_mode"]);
            chmod(&folder, mode | 0o770);
        }
        let empty = folder.join("empty");
        fs::create_dir(&empty).unwrap();
        chmod(&empty, 0);
        let error = group_record(&empty).try_lock().unwrap_err();
        assert_says(&error, Status::PG_ERR_STORE, &["Permission denied"]);
        assert_eq!(rights(&empty).0, 0, "it was replaced");
        return chmod(&empty, 0o700);
    }
    if !is_root("a folder that its user cannot open") {
        return;
    }
    let (_parent, folder) = shared(0o2770);
    assert_done(start(NAME, &folder, FIRST));
}

/// A folder of this user that is shared, and has no marker yet.
fn unmarked() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("sessions");
    fs::create_dir(&folder).unwrap();
    chmod(&folder, 0o2770);
    (parent, folder)
}

/// A record on a disk that calls this before each operation.
fn interrupted(
    folder: &Path,
    before: impl Fn(&str, &Path) -> io::Result<()> + Send + Sync + 'static,
) -> RecordFile {
    RecordFile::new(folder, key("account"), None, Arc::new(SystemClock), Arc::new(Interrupted(before)))
        .with_mode(StoreMode::Group)
}

#[test]
fn modes_that_are_as_they_should_be_give_no_warning() {
    let (_parent, folder) = unmarked();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for generation in 0..2 {
            let store = group_store(&folder);
            assert_eq!(store.lock(u64::MAX).await.unwrap(), Lock::Held);
            let found = store.load().await.unwrap().committed.map_or(0, |found| found.generation());
            assert_eq!(found, generation);
            store.commit(found, pair(found + 1)).await.unwrap();
            store.unlock().await.unwrap();
            assert_eq!(store.warning(), None);
        }
    });
}

#[test]
fn another_process_may_mark_the_folder_at_the_same_moment_but_without_a_marker_there_is_no_lock() {
    let (_parent, folder) = unmarked();
    let full = interrupted(&folder, |step, path| match (step, path.ends_with("pg-group")) {
        ("create", true) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        _ => Ok(()),
    });
    let error = full.try_lock().unwrap_err();
    assert_says(&error, Status::PG_ERR_STORE, &["pg-group", "No space left"]);
    assert!(fs::read_dir(&folder).unwrap().next().is_none());
    let raced = interrupted(&folder, |step, path| match (step, path.ends_with("pg-group")) {
        ("create", true) => fs::write(path, ""),
        _ => Ok(()),
    });
    assert!(raced.try_lock().unwrap() && folder.join("pg-group").exists());
}

#[test]
fn the_lock_file_that_another_process_makes_at_the_same_moment_counts() {
    // The other process may also have removed the temporary file, as what a flight that died has left.
    for is_removed in [false, true] {
        let (_parent, folder) = unmarked();
        let (rival, place) = (Arc::new(group_record(&folder)), folder.clone());
        let other = rival.clone();
        let ours = interrupted(&folder, move |step, path| {
            if step == "link" {
                assert!(other.try_lock().unwrap());
                if is_removed {
                    fs::remove_file(path)?;
                }
            }
            Ok(())
        });
        assert!(!ours.try_lock().unwrap(), "two processes have the lock");
        rival.unlock();
        assert!(ours.try_lock().unwrap());
        assert_eq!(fs::read_dir(place).unwrap().count(), 2, "the marker and the lock file");
    }
}

#[test]
fn a_lock_file_that_cannot_be_opened_or_made_is_an_error_and_leaves_no_file() {
    // The second is a file system without hard links.
    for (failing, code) in [("open_lock", libc::EIO), ("link", libc::EPERM), ("link", libc::EMLINK)] {
        let (_parent, folder) = unmarked();
        let fails = Mutex::new(true);
        let ours = interrupted(&folder, move |step, _| {
            let fails = step == failing && std::mem::take(&mut *fails.lock().unwrap());
            if fails { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
        });
        let says = format!("(os error {code})");
        assert_says(&ours.try_lock().unwrap_err(), Status::PG_ERR_STORE, &[".lock", &says]);
        assert_eq!(beside(ours.path(), ""), Vec::<PathBuf>::new(), "{failing}");
        assert!(ours.try_lock().unwrap(), "{failing}: the next attempt");
    }
}
