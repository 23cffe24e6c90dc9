//! Generates the C header, and sets the name and the linker flags of the shared library.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The number at the end of the SONAME; a test compares it with `PG_ABI_VERSION`.
const ABI_MAJOR: u32 = 1;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-env-changed=PG_UPDATE_HEADER");
    generate_header(&root, &out);
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libpaymentsgate_auth.so.{ABI_MAJOR}");
        // Our thread and our fork handler must not lose their code to a dlclose.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    if env::var("CARGO_CFG_TARGET_VENDOR").as_deref() == Ok("apple") {
        let name = format!("@rpath/libpaymentsgate_auth.{ABI_MAJOR}.dylib");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,{name}");
    }
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
