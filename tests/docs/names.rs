//! What the pages for contributors and the texts of the tree name exists: files, items of the sources, targets of make, tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{path, read};

/// The pages whose every name in backticks is looked up.
const PAGES: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"];

/// Every file that somebody has written, by its path from the root.
pub(crate) fn files() -> Vec<String> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            let is_made =
                ["target", "build", "dist", ".git", "__pycache__", ".venv"].contains(&name.as_str());
            match entry.file_type().unwrap() {
                kind if kind.is_dir() && !is_made => collect(&entry.path(), found),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    collect(&path(""), &mut found);
    found.iter().map(|file| file.strip_prefix(path("")).unwrap().to_str().unwrap().to_owned()).collect()
}

fn makefiles() -> String {
    let names = files().into_iter().filter(|file| file == "Makefile" || file.ends_with(".mk"));
    names.map(|file| read(&file)).collect()
}

/// What can be made: the words before the colon of each rule.
fn make_targets() -> BTreeSet<String> {
    let text = makefiles();
    let rules = text.lines().filter(|line| !line.starts_with(['\t', ' ', '#', '.']));
    let heads = rules.filter_map(|line| line.split_once(':')).filter(|(_, rest)| !rest.starts_with('='));
    heads.flat_map(|(targets, _)| targets.split_whitespace().map(str::to_owned)).collect()
}

/// The targets of a command line that begins after the word `make`. Its variables are no targets, nor are its options.
fn targets_of(command: &str) -> impl Iterator<Item = &str> {
    let is_target =
        |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || b"-0123456789".contains(&byte));
    let command = command.split(['\'', '"']).next().unwrap_or_default();
    command
        .split_whitespace()
        .filter(|word| !word.contains('='))
        .take_while(move |word| !word.starts_with('-') && is_target(word))
}

#[test]
fn each_make_target_that_a_text_names_exists() {
    let targets = make_targets();
    assert!(targets.contains("test"), "{targets:?}");
    let mut named = 0;
    for file in files() {
        // Bytes that are no text have nothing to say.
        let Ok(text) = std::fs::read_to_string(path(&file)) else { continue };
        let is_script =
            ["md", "sh", "yml"].iter().any(|end| file.ends_with(&format!(".{end}"))) || file == ".ci/run";
        for line in text.lines() {
            let quoted = line.split("`make ").skip(1).filter_map(|rest| rest.split('`').next());
            let whole = line.trim_start().trim_start_matches("- run: ").strip_prefix("make ").filter(|_| {
                is_script
                    && (line.starts_with("make ") || line.starts_with("    ") || line.contains("- run: "))
            });
            for target in quoted.chain(whole).flat_map(targets_of) {
                named += 1;
                assert!(
                    targets.contains(target),
                    "{file} names `make {target}`, which make does not know: {line}"
                );
            }
        }
    }
    assert!(named > 50, "only {named} targets are named: the search is broken");
}

/// The words of a source: names, and what else looks like one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// Whether it is a name, perhaps with a path of names before it.
fn is_name(text: &str) -> bool {
    text.split("::").all(|part| {
        part.starts_with(|letter: char| letter == '_' || letter.is_ascii_alphabetic())
            && words(part).eq([part])
    })
}

#[test]
fn what_the_pages_for_contributors_name_exists() {
    let is_source = |file: &String| file.starts_with("src/") || file.starts_with("bindings/");
    let sources = files().into_iter().filter(is_source);
    // A built library may be among them.
    let sources: Vec<_> = sources.filter_map(|file| std::fs::read_to_string(path(&file)).ok()).collect();
    let makefiles = makefiles();
    let known: BTreeSet<_> = sources.iter().chain([&makefiles]).flat_map(|text| words(text)).collect();
    let defined: BTreeSet<_> = sources
        .iter()
        .flat_map(|text| {
            let mut words = words(text).peekable();
            std::iter::from_fn(move || words.next().map(|word| (word, words.peek().copied())))
        })
        .filter(|(word, _)| {
            ["struct", "enum", "trait", "type", "fn", "mod", "const", "static", "class"].contains(word)
        })
        .filter_map(|(_, name)| name)
        .collect();
    for page in PAGES {
        let text = read(page);
        let mut named = 0;
        for quoted in text.split("\n").flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let Some(wrong) = wrong_with(quoted, &known, &defined) else {
                named += 1;
                continue;
            };
            panic!("{page} names `{quoted}`: {wrong}");
        }
        assert!(named > 0, "{page}: the search is broken");
    }
}

/// Why what stands in backticks is not there; `None`: it is, or it is no name.
fn wrong_with(quoted: &str, known: &BTreeSet<&str>, defined: &BTreeSet<&str>) -> Option<String> {
    if let Some(test) = quoted.strip_prefix("cargo test --test ") {
        let test = test.split(' ').next().unwrap_or_default();
        let is_there =
            path(&format!("tests/{test}/main.rs")).exists() || path(&format!("tests/{test}.rs")).exists();
        return (!is_there).then(|| "there is no such test".into());
    }
    if is_name(quoted.trim_end_matches("()")) {
        let is_type = |name: &str| {
            name.starts_with(|letter: char| letter.is_ascii_uppercase())
                && name.contains(|letter: char| letter.is_ascii_lowercase())
        };
        let is_item = quoted.ends_with("()") || is_type(quoted);
        let first = quoted.trim_end_matches("()").split("::").next().unwrap_or_default();
        if is_item && !defined.contains(first) {
            return Some(format!("src/ and bindings/ define no {first}"));
        }
        let unknown = quoted
            .trim_end_matches("()")
            .split("::")
            .find(|part| !known.contains(part) && !path(part).exists());
        return unknown.map(|part| format!("src/ and bindings/ have no {part}"));
    }
    let is_file = quoted.contains('/') && !quoted.contains([' ', '*', '<', ':', '=']);
    (is_file && !path(quoted).exists()).then(|| "there is no such file".into())
}

#[test]
fn the_oldest_rust_is_one_number() {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("\nrust-version = \"").unwrap();
    let oldest = rest.split('"').next().unwrap();
    for file in ["README.md", "scripts/msrv", "scripts/setup", ".github/workflows/ci.yml"] {
        assert!(read(file).contains(oldest), "{file} does not name Rust {oldest}");
    }
}
