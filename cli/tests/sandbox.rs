//! `sandbox`: which emulator it becomes, what that one receives, and what is said if there is none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// A program that was just written cannot be run while another test starts a process, which inherits the open file.
static TURN: Mutex<()> = Mutex::new(());

/// A copy of the command in a folder of its own, and an empty folder as PATH.
struct Installed {
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Installed {
    fn new() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin", "path"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::copy(env!("CARGO_BIN_EXE_paymentsgate-auth"), folder.path().join("bin/paymentsgate-auth"))
            .unwrap();
        Installed { folder, _turn: turn }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `sandbox`, with variables that no other command would accept.
    fn sandbox(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.path("bin/paymentsgate-auth"));
        command.env_clear().env("PATH", self.path("path")).env("PAYMENTSGATE_BASE_URL", "nonsense");
        command.arg("sandbox").args(arguments).output().unwrap()
    }
}

/// An emulator that shows its name, its arguments and its process.
fn emulator(path: &Path, mode: u32) {
    let script = format!("#!/bin/sh\necho '{}' \"$*\" $$\nexit 7\n", path.display());
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn it_becomes_the_emulator_beside_the_command_with_all_arguments() {
    let installed = Installed::new();
    emulator(&installed.path("bin/pg-sandbox"), 0o755);
    emulator(&installed.path("path/pg-sandbox"), 0o755);
    for arguments in [
        &[][..],
        &["--help"],
        &["--version"],
        &["--port", "8443", "--switch", "rotation=static", "--keep"],
        &["--dir", "x", "--", "ctest", "--help"],
        &["--", "ctest", "--help"],
        &["--", "ctest", "--", "--help"],
    ] {
        let output = installed.sandbox(arguments);
        assert_eq!(output.status.code(), Some(7), "{arguments:?}: {}", text(&output.stderr));
        let wanted = format!("{} {}", installed.path("bin/pg-sandbox").display(), arguments.join(" "));
        assert!(text(&output.stdout).starts_with(&wanted), "{arguments:?}: {}", text(&output.stdout));
    }
}

#[test]
fn it_looks_for_the_emulator_on_path() {
    let installed = Installed::new();
    emulator(&installed.path("path/pg-sandbox"), 0o755);
    let output = installed.sandbox(&[]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
}

#[test]
fn without_an_emulator_it_says_what_to_install() {
    let output = Installed::new().sandbox(&["--help"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(127), String::new()));
    let said = text(&output.stderr);
    for piece in ["error:", "pg-sandbox", "PATH", "pip install paymentsgate-auth-sandbox"] {
        assert!(said.contains(piece), "{piece}? {said}");
    }
}

#[test]
fn an_emulator_that_cannot_be_run_is_named() {
    let installed = Installed::new();
    let path = installed.path("bin/pg-sandbox");
    emulator(&path, 0o644);
    let output = installed.sandbox(&[]);
    assert_eq!(output.status.code(), Some(126));
    assert!(
        text(&output.stderr).contains(&format!("cannot run {}", path.display())),
        "{}",
        text(&output.stderr)
    );
}
