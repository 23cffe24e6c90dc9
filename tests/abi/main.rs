//! The C interface: its exports, the panic guard of each export, and the committed header.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bindings;
mod interface;
#[cfg(target_pointer_width = "64")]
mod layout;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use paymentsgate_auth::status::Status;
use syn::{Expr, Item, ItemFn, Stmt};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn listed_exports() -> BTreeSet<String> {
    read("abi/exports.txt").lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn ffi_functions() -> Vec<ItemFn> {
    let folder = std::fs::read_dir(root().join("src/ffi")).unwrap();
    let sources = folder.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    let items = sources.flat_map(|source| syn::parse_file(&source).unwrap().items);
    items.filter_map(|item| if let Item::Fn(function) = item { Some(function) } else { None }).collect()
}

#[test]
fn the_library_exports_exactly_the_reviewed_list() {
    let library = std::env::current_exe().unwrap().with_file_name("libpaymentsgate_auth.so");
    let output =
        Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(&library).output().unwrap();
    assert!(output.status.success(), "nm {}: {}", library.display(), String::from_utf8_lossy(&output.stderr));
    let symbols = String::from_utf8(output.stdout).unwrap();
    let exported: BTreeSet<_> =
        symbols.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(exported, listed_exports(), "left: the library, right: abi/exports.txt");
    assert!(exported.iter().all(|name| name.starts_with("pg_")));
}

/// The version is given in each file of its own.
#[test]
fn every_export_has_a_symbol_version() {
    let folder = std::fs::read_dir(root().join("src/ffi")).unwrap();
    for path in folder.map(|entry| entry.unwrap().path()) {
        let (mut exported, mut versioned) = (BTreeSet::new(), BTreeSet::new());
        for item in syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap().items {
            match item {
                Item::Fn(function) if function.sig.abi.is_some() => {
                    exported.insert(function.sig.ident.to_string());
                }
                Item::Macro(list) if list.mac.path.is_ident("versioned") => {
                    let names = list.mac.tokens.to_string();
                    versioned.extend(names.split(',').map(|name| name.trim().to_owned()));
                }
                _ => {}
            }
        }
        versioned.remove("");
        assert_eq!(
            versioned,
            exported,
            "left: the list of versioned!, right: the exports of {}",
            path.display()
        );
    }
    let number = paymentsgate_auth::ffi::PG_ABI_VERSION;
    assert!(read("src/ffi/versions.rs").contains(&format!("\"@@PAYMENTSGATE_AUTH_{number}\"")));
}

#[test]
fn every_export_is_one_guarded_call() {
    let (exported, inner): (Vec<_>, Vec<_>) =
        ffi_functions().into_iter().partition(|function| function.sig.abi.is_some());
    let names: BTreeSet<_> = exported.iter().map(|function| function.sig.ident.to_string()).collect();
    assert_eq!(names, listed_exports(), "left: src/ffi, right: abi/exports.txt");
    let guarded: BTreeSet<_> = inner
        .iter()
        .filter(|function| is_one_call_of(&["fallible", "producing"], function))
        .map(|function| function.sig.ident.to_string())
        .collect();
    for function in exported {
        let guards =
            &["fallible", "infallible", "producing", "closing", "with_refresh_token", "get", "column"];
        assert!(
            is_one_call_of(guards, &function) || is_fast_path_or_guarded(&guarded, &function),
            "{} has code outside of the panic boundary",
            function.sig.ident
        );
    }
    // A guard that is built on another guard must be one call of it.
    let derived = ["producing", "closing", "with_refresh_token", "get", "column"];
    for function in inner.iter().filter(|function| derived.iter().any(|name| function.sig.ident == name)) {
        let guards = &["fallible", "infallible"];
        assert!(is_one_call_of(guards, function), "{} is not a guard", function.sig.ident);
    }
}

/// The body is one call of a guard on a closure. The other arguments are plain values, so that nothing can panic
/// outside of the guard.
fn is_one_call_of(guards: &[&str], function: &ItemFn) -> bool {
    let [Stmt::Expr(call, _)] = function.block.stmts.as_slice() else { return false };
    is_call_of(guards, call)
}

fn is_call_of(guards: &[&str], call: &Expr) -> bool {
    let Expr::Call(call) = call else { return false };
    let Expr::Path(path) = &*call.func else { return false };
    let guarded = path.path.get_ident().is_some_and(|name| guards.iter().any(|guard| name == guard));
    let mut arguments = call.args.iter().rev();
    let closure = matches!(arguments.next(), Some(Expr::Closure(_)));
    guarded && closure && arguments.all(is_plain)
}

/// The body is `guarded(…)`, or `let answered = fast_path(&mut …, || …); if answered { Status::PG_OK } else { guarded(…) }`. That
/// what is on the fast path has no panic is for a reader of the code to judge.
fn is_fast_path_or_guarded(guarded: &BTreeSet<String>, function: &ItemFn) -> bool {
    match function.block.stmts.as_slice() {
        [Stmt::Expr(call, None)] => is_call_of_guarded(guarded, call),
        [Stmt::Local(local), Stmt::Expr(Expr::If(branches), None)] => {
            let is_fast_path = local.init.as_ref().is_some_and(|init| is_call_of(&["fast_path"], &init.expr));
            let Some((_, otherwise)) = &branches.else_branch else { return false };
            let Expr::Block(otherwise) = &**otherwise else { return false };
            let [Stmt::Expr(call, None)] = otherwise.block.stmts.as_slice() else { return false };
            is_fast_path && matches!(&*branches.cond, Expr::Path(_)) && is_call_of_guarded(guarded, call)
        }
        _ => false,
    }
}

fn is_call_of_guarded(guarded: &BTreeSet<String>, call: &Expr) -> bool {
    let call = match call {
        Expr::Unsafe(block) => match block.block.stmts.as_slice() {
            [Stmt::Expr(call, None)] => call,
            _ => return false,
        },
        call => call,
    };
    let Expr::Call(call) = call else { return false };
    let Expr::Path(path) = &*call.func else { return false };
    let is_guarded = path.path.get_ident().is_some_and(|name| guarded.contains(&name.to_string()));
    is_guarded && call.args.iter().all(is_plain)
}

fn is_plain(argument: &Expr) -> bool {
    match argument {
        Expr::Path(_) | Expr::Lit(_) => true,
        Expr::Unary(unary) => is_plain(&unary.expr),
        Expr::Reference(reference) => is_plain(&reference.expr),
        Expr::Tuple(tuple) => tuple.elems.is_empty(),
        Expr::MethodCall(call) => call.method == "as_ptr" && is_plain(&call.receiver),
        Expr::Call(call) => matches!(&*call.func, Expr::Path(path)
            if call.args.is_empty() && path.path.segments.first().is_some_and(|first| first.ident == "ptr")),
        _ => false,
    }
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let generated = std::fs::read_to_string(concat!(env!("OUT_DIR"), "/paymentsgate_auth.h")).unwrap();
    assert!(generated == read("include/paymentsgate_auth.h"), "the header has drifted: run `make generate`");
}

#[test]
fn the_header_contains_no_rust_terms() {
    for line in read("include/paymentsgate_auth.h").lines() {
        for rust in ["::", "Option<", "Result<", "&str", "[`", "unsafe"] {
            assert!(!line.contains(rust), "Rust in the header: {line}");
        }
    }
}

#[test]
fn every_status_of_the_header_is_known_by_name() {
    let header = read("include/paymentsgate_auth.h");
    let in_header: Vec<_> = header
        .lines()
        .filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "))
        .filter(|(name, _)| *name == "PG_OK" || name.starts_with("PG_ERR_"))
        .map(|(name, number)| (name.to_owned(), number.parse().unwrap()))
        .collect();
    let known: Vec<_> = Status::ALL.iter().map(|status| (format!("{status:?}"), *status as i32)).collect();
    assert_eq!(in_header, known);
}

#[test]
fn the_soname_carries_the_abi_number() {
    let number = paymentsgate_auth::ffi::PG_ABI_VERSION;
    assert!(read("build.rs").contains(&format!("const ABI_MAJOR: u32 = {number};")));
    assert_eq!(paymentsgate_auth::ffi::pg_abi_version(), number);
}
