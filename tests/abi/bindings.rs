//! Each binding uses every exported function, except those that a reviewed list gives a reason for, and has a name for every
//! number of an enumeration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const BINDINGS: [&str; 3] = ["cpp", "go", "python"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a list without its comments.
fn listed(name: &str) -> Vec<String> {
    read(name).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// All sources of a folder with this ending, without its tests.
fn sources(folder: &str, ending: &str) -> String {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let is_source = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(ending) && !name.ends_with(&format!("_test{ending}"))
    };
    entries.filter(is_source).map(read).collect()
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| letter != '_' && letter != '.' && !letter.is_ascii_alphanumeric()).collect()
}

/// The code of a binding, without its comments.
fn used_by(binding: &str) -> BTreeSet<String> {
    let code = match binding {
        "cpp" => read("include/paymentsgate_auth.hpp"),
        "go" => sources("bindings/go", ".go"),
        "python" => sources("bindings/python/src/paymentsgate_auth", ".py"),
        _ => unreachable!("no such binding"),
    };
    let remark = if binding == "python" { "#" } else { "//" };
    let code: Vec<_> = code.lines().map(|line| line.split(remark).next().unwrap()).collect();
    let code = code.join("\n");
    // A declaration alone does not count: in Python and Go a use has the library's name in front.
    let prefix = match binding {
        "go" => "C.",
        "python" => "library.",
        _ => "",
    };
    words(&code).into_iter().filter_map(|word| word.strip_prefix(prefix)).map(str::to_owned).collect()
}

#[test]
fn every_export_is_used_by_each_binding_or_listed_with_a_reason() {
    let exports: BTreeSet<_> = listed("abi/exports.txt").into_iter().collect();
    let mut left_out = BTreeSet::new();
    for line in listed("abi/bindings.txt") {
        let columns: Vec<_> = line.split('\t').collect();
        let [function, bindings, reason] = columns[..] else {
            panic!("abi/bindings.txt: three columns: {line}")
        };
        assert!(exports.contains(function), "abi/bindings.txt: no export has the name {function}");
        assert!(reason.len() > 10, "abi/bindings.txt: a reason is missing: {line}");
        for binding in bindings.split(',') {
            assert!(BINDINGS.contains(&binding), "abi/bindings.txt: no binding has the name {binding}");
            assert!(
                left_out.insert((binding.to_owned(), function.to_owned())),
                "abi/bindings.txt: listed twice: {line}"
            );
        }
    }
    for binding in BINDINGS {
        let used = used_by(binding);
        for function in &exports {
            let is_left_out = left_out.contains(&(binding.to_owned(), function.clone()));
            match (used.contains(function), is_left_out) {
                (true, true) => panic!("{binding} uses {function}: remove it from abi/bindings.txt"),
                (false, false) => {
                    panic!("{binding} does not use {function}: use it, or give a reason in abi/bindings.txt")
                }
                _ => {}
            }
        }
    }
}

/// The enumerations of the header: their numbers by name.
fn enumerations() -> BTreeMap<String, BTreeMap<String, i32>> {
    let header = read("include/paymentsgate_auth.h");
    let mut all = BTreeMap::<String, BTreeMap<String, i32>>::new();
    let mut current = String::new();
    for line in header.lines() {
        if let Some(name) = line.strip_prefix("enum ") {
            current = name.trim().to_owned();
        } else if let Some((name, number)) = line.trim().trim_end_matches(',').split_once(" = ")
            && let (true, Ok(number)) = (name.starts_with("PG_"), number.parse())
        {
            all.entry(current.clone()).or_default().insert(name.to_owned(), number);
        }
    }
    assert_eq!(all.keys().collect::<Vec<_>>(), ["pg_fate", "pg_kind", "pg_log_level", "pg_status"]);
    all
}

/// The numbers of a Python class by name.
fn python_numbers(code: &str, class: &str) -> BTreeMap<String, i32> {
    let body = code.split_once(&format!("class {class}(OpenEnum):\n")).unwrap().1;
    let body = body.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    body.filter_map(|line| line.strip_prefix("    ")?.split_once(" = "))
        .filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?)))
        .collect()
}

/// C++ uses the enumerations of the C header.
#[test]
fn every_number_of_an_enumeration_has_a_name_in_python_and_go() {
    // Python and Go have one type for each event, or the event is the result of a call.
    let no_events = ["PG_EVENT_NONE", "PG_EVENT_TOKEN", "PG_EVENT_RESPONSE"];
    let python = sources("bindings/python/src/paymentsgate_auth", ".py");
    let go = used_by("go");
    for (enumeration, numbers) in enumerations() {
        let (class, prefix) = match enumeration.as_str() {
            "pg_status" => ("Status", "PG_"),
            "pg_fate" => ("Fate", "PG_FATE_"),
            "pg_kind" => ("EventKind", "PG_EVENT_"),
            _ => ("LogLevel", "PG_LOG_"),
        };
        let wanted = numbers.into_iter().filter(|(name, _)| !no_events.contains(&name.as_str()));
        let wanted: BTreeMap<_, _> = wanted.collect();
        for name in wanted.keys() {
            assert!(go.contains(name), "Go has no constant for {name}");
        }
        let short = |name: String| {
            let name = name.strip_prefix(prefix).unwrap();
            name.strip_prefix("ERR_").unwrap_or(name).to_owned()
        };
        let wanted: BTreeMap<_, _> = wanted.into_iter().map(|(name, number)| (short(name), number)).collect();
        assert_eq!(python_numbers(&python, class), wanted, "left: Python's {class}, right: {enumeration}");
    }
}
