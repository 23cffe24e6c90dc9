//! Generates the C header, and gives the shared library its name and its linker flags.

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
}

/// The header goes to OUT_DIR; a test compares it with the committed one. `PG_UPDATE_HEADER=1` (`make generate`)
/// renews the committed one: a plain build never writes into the source tree.
fn generate_header(root: &Path, out: &Path) {
    let header = out.join("paymentsgate_auth.h");
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap_or_else(|error| fail(&error));
    match cbindgen::Builder::new().with_config(config).with_crate(root).generate() {
        Ok(bindings) => {
            bindings.write_to_file(&header);
        }
        Err(error) => fail(&error.to_string()),
    }
    if env::var("PG_UPDATE_HEADER").as_deref() == Ok("1") {
        let committed = root.join("include/paymentsgate_auth.h");
        fs::copy(&header, &committed).map_err(|error| fail::<u64>(&error.to_string())).ok();
    }
}

fn fail<T>(why: &str) -> T {
    println!("cargo:error=the C header cannot be generated: {why}");
    std::process::exit(1)
}
