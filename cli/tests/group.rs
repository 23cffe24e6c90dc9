//! `store_mode = group`: two users of one group work on one session, and the commands of another mode say why they cannot.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use support::{Bench, skipped_without_root};

const GROUP: u32 = 4300;

/// A folder of the group, and settings that its members can read. `None`: only root can make them.
fn shared() -> Option<Bench> {
    let bench = Bench::new();
    fs::create_dir(bench.path("sessions")).unwrap();
    if chown(bench.path("sessions"), None, Some(GROUP)).is_err() {
        skipped_without_root("two users of one group");
        return None;
    }
    let address = bench.sandbox.address();
    for (name, from) in [("login.json", &address.credentials_file), ("ca.pem", &address.ca_file)] {
        bench.file(name, &fs::read_to_string(from).unwrap());
        chown(bench.path(name), None, Some(GROUP)).unwrap();
        fs::set_permissions(bench.path(name), Permissions::from_mode(0o640)).unwrap();
    }
    fs::set_permissions(bench.path("sessions"), Permissions::from_mode(0o2770)).unwrap();
    fs::set_permissions(bench.folder.path(), Permissions::from_mode(0o755)).unwrap();
    Some(bench)
}

fn as_user(bench: &Bench, uid: u32, mode: &str, arguments: &[&str]) -> Command {
    let mut command = bench.command(arguments);
    command
        .env("PAYMENTSGATE_CREDENTIALS_FILE", bench.path("login.json"))
        .env("PAYMENTSGATE_TLS_CA_FILE", bench.path("ca.pem"))
        .env("PAYMENTSGATE_STORE_MODE", mode)
        .uid(uid)
        .gid(GROUP);
    command
}

#[test]
fn one_user_logs_in_and_the_other_uses_and_removes_the_session() {
    let Some(bench) = shared() else { return };
    let run = |uid, arguments: &[&str]| bench.run_command(as_user(&bench, uid, "group", arguments));
    run(4301, &["login"]).ends(0).says(&["generation 1"]);
    run(4302, &["status"]).ends(0).says(&["plain"]);
    run(4302, &["refresh"]).ends(0).says(&["the refresh token"]);
    run(4301, &["refresh"]).ends(0).says(&["the refresh token"]);
    assert_eq!(bench.calls(), (1, 2), "one session");
    run(4302, &["doctor"]).ends(0).says(&["every member of group 4300 can use them", ", plain"]);
    run(4302, &["metrics"]).ends(0);
    for name in bench.names().iter().filter(|name| *name != "pg-group") {
        let found = fs::metadata(bench.path("sessions").join(name)).unwrap();
        assert_eq!((found.mode() & 0o7777, found.gid()), (0o660, GROUP), "{name}");
    }
    run(4302, &["logout"]).ends(0).says(&["was removed"]);
    run(4301, &["status"]).ends(7);
}

#[test]
fn a_command_with_another_mode_names_the_setting() {
    let Some(bench) = shared() else { return };
    let run = |mode, arguments: &[&str]| bench.run_command(as_user(&bench, 4302, mode, arguments));
    bench.run_command(as_user(&bench, 4301, "group", &["login"])).ends(0);
    for command in ["login", "token", "status", "doctor", "logout"] {
        run("private", &[command, "--set", "on_store_down=fail"])
            .ends(6)
            .says(&["a group shares this folder", "set store_mode to group"]);
    }
    let folder = bench.path("sessions");
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    chown(&folder, Some(4301), Some(GROUP)).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
    for command in ["login", "status", "doctor", "logout"] {
        run("group", &[command]).ends(6).says(&[
            "may not use it (mode 750)",
            "user 4301 or root can `chmod 2770 ",
            "store_mode to private",
        ]);
    }
    run("group", &["login", "--store", "memory:"]).ends(3).says(&["store_mode is group", "not a folder"]);
    assert_eq!(bench.calls(), (1, 0));
}

#[test]
fn the_default_folder_is_made_for_the_group() {
    let bench = Bench::new();
    let mut command = bench.command(&["login", "--set", "store_mode=group"]);
    command.env_remove("PAYMENTSGATE_STORE");
    bench.run_command(command).ends(0).says(&["generation 1"]);
    let folder = bench.path(".local/state/paymentsgate-auth");
    assert_eq!(fs::metadata(folder).unwrap().mode() & 0o7777, 0o2770);
}
