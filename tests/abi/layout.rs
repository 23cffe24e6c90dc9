//! The layout of the one public struct is that of `abi/layout.txt`, in Rust, C and C++. The tests of the Python and of the Go
//! binding compare theirs with the same table.

use std::mem::offset_of;
use std::process::{Command, Stdio};

use paymentsgate_auth::ffi::pg_store;

use super::{read, root};

/// Member, offset and size.
fn table() -> Vec<(String, usize, usize)> {
    let text = read("abi/layout.txt");
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let columns: Vec<_> = line.split(' ').collect();
        (columns[0].to_owned(), columns[1].parse().unwrap(), columns[2].parse().unwrap())
    };
    rows.map(row).collect()
}

#[test]
fn the_struct_of_a_store_has_its_layout_in_rust() {
    let offsets = [
        ("size", offset_of!(pg_store, size)),
        ("context", offset_of!(pg_store, context)),
        ("lock", offset_of!(pg_store, lock)),
        ("unlock", offset_of!(pg_store, unlock)),
        ("load", offset_of!(pg_store, load)),
        ("save", offset_of!(pg_store, save)),
        ("free", offset_of!(pg_store, free)),
        ("pg_store", 0),
    ];
    let table: Vec<_> = table();
    let listed: Vec<_> = table.iter().map(|(name, offset, _)| (name.as_str(), *offset)).collect();
    assert_eq!(listed, offsets, "left: abi/layout.txt");
    assert_eq!(table.last().unwrap().2, size_of::<pg_store>());
}

#[test]
fn the_struct_of_a_store_has_its_layout_in_c_and_cpp() {
    let assertion = |(name, offset, size): (String, usize, usize)| match name.as_str() {
        "pg_store" => format!("ASSERT(sizeof(pg_store) == {size}, \"pg_store\");\n"),
        name => format!(
            "ASSERT(offsetof(pg_store, {name}) == {offset} && sizeof(((pg_store *)0)->{name}) == {size}, \"{name}\");\n"
        ),
    };
    let assertions: String = table().into_iter().map(assertion).collect();
    for (compiler, language, standard, assert) in
        [("cc", "c", "-std=c11", "_Static_assert"), ("c++", "c++", "-std=c++17", "static_assert")]
    {
        let program = format!(
            "#define ASSERT {assert}\n#include <paymentsgate_auth.h{}>\n{assertions}",
            if language == "c" { "" } else { "pp" }
        );
        let mut child = Command::new(compiler)
            .args([standard, "-x", language, "-fsyntax-only", "-I"])
            .arg(root().join("include"))
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), program.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{compiler}: {}", String::from_utf8_lossy(&done.stderr));
    }
}
