//! Generates the C header, and sets the name, the symbol versions and the linker flags of the shared library.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The number at the end of the SONAME; a test compares it with `PG_ABI_VERSION`.
const ABI_MAJOR: u32 = 1;

/// A shared library with one function that has a version, and nothing of Rust's own.
const PROBE: &str = r#"
#![no_std]
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo) -> ! { loop {} }
#[unsafe(no_mangle)]
pub extern "C" fn pg_probe() {}
core::arch::global_asm!(".symver pg_probe, pg_probe@@PAYMENTSGATE_AUTH_1");
"#;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-env-changed=PG_UPDATE_HEADER");
    println!("cargo:rerun-if-env-changed=PG_SYMBOL_VERSIONS");
    println!("cargo:rustc-check-cfg=cfg(pg_symbol_versions)");
    generate_header(&root, &out);
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libpaymentsgate_auth.so.{ABI_MAJOR}");
        // Our thread and our fork handler must not lose their code to a dlclose.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        // Not in every build: a library that another crate makes of this one would lack the script.
        if env::var("PG_SYMBOL_VERSIONS").as_deref() == Ok("1") {
            version_symbols(&out);
        }
    }
    if env::var("CARGO_CFG_TARGET_VENDOR").as_deref() == Ok("apple") {
        let name = format!("@rpath/libpaymentsgate_auth.{ABI_MAJOR}.dylib");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,{name}");
    }
}

/// Gives each exported symbol the version of the ABI, if the linker can. rustc passes a script without versions itself: lld
/// (the default on x86-64 since Rust 1.90, and that of zig) accepts another one beside it, and GNU ld does not.
fn version_symbols(out: &Path) {
    let script = out.join("versions.map");
    let text = format!("PAYMENTSGATE_AUTH_{ABI_MAJOR} {{ global: pg_*; local: *; }};\n");
    fs::write(&script, text).unwrap_or_else(|error| fail(&error.to_string()));
    let argument = format!("-Wl,--version-script={}", script.display());
    let is_zig = env::var("RUSTC_LINKER").is_ok_and(|linker| linker.contains("zigcc"));
    if is_zig || links_versions(out, &argument) {
        println!("cargo:rustc-cfg=pg_symbol_versions");
        println!("cargo:rustc-cdylib-link-arg={argument}");
    } else {
        println!(
            "cargo:warning=the symbols of the shared library get no versions: the linker refuses them; lld does not"
        );
    }
}

/// Whether the linker makes a library of the probe.
fn links_versions(out: &Path, argument: &str) -> bool {
    let (source, library) = (out.join("probe.rs"), out.join("libprobe.so"));
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let linker = env::var("RUSTC_LINKER").map(|linker| format!("-Clinker={linker}"));
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "-Cpanic=abort", "--target"]);
    rustc.arg(env::var_os("TARGET").unwrap_or_default()).arg(&source).arg("-o").arg(&library);
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty())).args(linker.ok());
    rustc.arg(format!("-Clink-arg={argument}"));
    fs::write(&source, PROBE).is_ok() && rustc.output().is_ok_and(|done| done.status.success())
}

/// The header goes to OUT_DIR; a test compares it with the committed one. `PG_UPDATE_HEADER=1` (`make generate`) updates
/// the committed one: a plain build never writes into the source tree.
fn generate_header(root: &Path, out: &Path) {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap_or_else(|error| fail(&error));
    let bindings = cbindgen::Builder::new().with_config(config).with_crate(root).generate();
    let bindings = bindings.unwrap_or_else(|error| fail(&error.to_string()));
    let mut header = Vec::new();
    bindings.write(&mut header);
    let header = compact(&String::from_utf8_lossy(&header));
    let write = |path: PathBuf| fs::write(path, &header).unwrap_or_else(|error| fail(&error.to_string()));
    write(out.join("paymentsgate_auth.h"));
    if env::var("PG_UPDATE_HEADER").as_deref() == Ok("1") {
        write(root.join("include/paymentsgate_auth.h"));
    }
}

/// Comments begin and end on a line of text: cbindgen gives two more lines to each.
fn compact(header: &str) -> String {
    ["\n", "\n    "].iter().fold(header.to_owned(), |header, line| {
        header.replace(&format!("/**{line} * "), "/** ").replace(&format!("{line} */"), " */")
    })
}

fn fail<T>(why: &str) -> T {
    println!("cargo:error=the C header cannot be generated: {why}");
    std::process::exit(1)
}
