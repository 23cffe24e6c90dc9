//! The map in `src/lib.rs` is true: a room imports nothing that stands above it, and programs use the root of the crate alone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The rooms of the table, with their lines from the top.
fn rooms() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(Path::new(ROOT).join("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")?.split_once(" | "));
    let rooms: BTreeMap<_, _> = (0..)
        .zip(rows.filter(|(names, _)| names.contains('`')))
        .flat_map(|(row, (names, _))| {
            names.split(", ").map(move |name| (name.trim_matches(['[', ']', '`']).to_owned(), row))
        })
        .collect();
    assert!(rooms.len() > 20, "the table in src/lib.rs is read: {rooms:?}");
    rooms
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

fn tokens(path: &Path) -> Vec<TokenTree> {
    let text = fs::read_to_string(path).unwrap();
    text.parse::<TokenStream>()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into_iter()
        .collect()
}

fn is_group(tree: Option<&TokenTree>, delimiter: Delimiter) -> bool {
    matches!(tree, Some(TokenTree::Group(group)) if group.delimiter() == delimiter)
}

/// What is compiled into the library: without the items behind `#[cfg(test)]`. The modules of those that are files are `hidden`.
fn shipped(trees: Vec<TokenTree>, hidden: &mut BTreeSet<String>) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut rest = trees.into_iter().peekable();
    while let Some(tree) = rest.next() {
        let is_attribute = tree.to_string() == "#" && is_group(rest.peek(), Delimiter::Bracket);
        if is_attribute && rest.peek().is_some_and(|tree| tree.to_string().replace(' ', "") == "[cfg(test)]")
        {
            let mut item = Vec::new();
            for tree in rest.by_ref() {
                let is_end = tree.to_string() == ";" || is_group(Some(&tree), Delimiter::Brace);
                item.push(tree.to_string());
                if is_end {
                    break;
                }
            }
            if let [.., keyword, name, end] = &item[..]
                && (keyword, &**end) == (&"mod".to_owned(), ";")
            {
                hidden.insert(name.clone());
            }
            continue;
        }
        kept.push(tree);
    }
    kept
}

/// The first names of all paths that begin with `start::`.
fn imports(trees: Vec<TokenTree>, start: &str, hidden: &mut BTreeSet<String>, found: &mut BTreeSet<String>) {
    let trees = shipped(trees, hidden);
    for window in trees.windows(4) {
        if window[0].to_string() != start || window[1].to_string() != ":" || window[2].to_string() != ":" {
            continue;
        }
        match &window[3] {
            TokenTree::Ident(name) => drop(found.insert(name.to_string())),
            TokenTree::Group(group) => {
                let parts: Vec<_> = group.stream().into_iter().collect();
                let starts = parts.split(|tree| tree.to_string() == ",").filter_map(|part| part.first());
                found.extend(starts.map(ToString::to_string));
            }
            _ => {}
        }
    }
    for tree in trees {
        if let TokenTree::Group(group) = tree {
            imports(group.stream().into_iter().collect(), start, hidden, found);
        }
    }
}

/// The steps of a flight in `tests/model/Sharing.tla`: the definitions of that section.
fn steps_of_the_model() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(ROOT).join("tests/model/Sharing.tla")).unwrap();
    let (_, rest) = text.split_once("\\* The steps of a flight").unwrap();
    let (section, _) = rest.split_once("\\* The environment").unwrap();
    let definitions = section.lines().filter(|line| line.contains(") =="));
    definitions.filter_map(|line| Some(line.split_once('(')?.0.to_owned())).collect()
}

#[test]
fn each_step_of_the_model_is_named_in_the_source_and_the_reverse() {
    let mut named = BTreeSet::new();
    for path in sources(&Path::new(ROOT).join("src")) {
        let text = fs::read_to_string(path).unwrap();
        let lists = text.lines().filter_map(|line| line.trim().strip_prefix("// Model: ")?.strip_suffix('.'));
        for name in lists.flat_map(|list| list.split(", ")) {
            assert!(named.insert(name.to_owned()), "two places are named {name}");
        }
    }
    let steps = steps_of_the_model();
    assert!(steps.len() > 20, "the steps are read: {steps:?}");
    assert_eq!(named, steps);
}

#[test]
fn a_room_imports_nothing_that_stands_above_it() {
    let (source, rooms) = (Path::new(ROOT).join("src"), rooms());
    let mut hidden = BTreeSet::new();
    let mut arrows = Vec::new();
    for path in sources(&source).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
    {
        let inside = path.strip_prefix(&source).unwrap();
        let room = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        let mut found = BTreeSet::new();
        imports(tokens(&path), "crate", &mut hidden, &mut found);
        arrows.push((inside.to_owned(), room, found));
    }
    let is_hidden = |path: &Path| hidden.contains(path.file_stem().unwrap().to_str().unwrap());
    for (path, room, found) in arrows.iter().filter(|(path, room, _)| room != "lib" && !is_hidden(path)) {
        let row = rooms.get(room).unwrap_or_else(|| panic!("src/lib.rs: `{room}` is missing in the table"));
        for used in found.iter().filter(|used| *used != room) {
            let below =
                rooms.get(used).unwrap_or_else(|| panic!("{}: `crate::{used}` is no room", path.display()));
            let is_value = below == row && *row == rooms.values().copied().max().unwrap();
            assert!(
                below > row || is_value,
                "src/{}: `{room}` uses `{used}`, which stands above it",
                path.display()
            );
        }
    }
    let all: BTreeSet<_> = arrows.iter().map(|(_, room, _)| room).filter(|room| *room != "lib").collect();
    assert_eq!(all, rooms.keys().collect(), "src/lib.rs: the table names each room once");
}

#[test]
fn programs_use_the_names_at_the_root_of_the_crate() {
    for folder in ["cli/src", "examples/live/src"] {
        for path in sources(&Path::new(ROOT).join(folder)) {
            let mut found = BTreeSet::new();
            imports(tokens(&path), "paymentsgate_auth", &mut BTreeSet::new(), &mut found);
            let modules: Vec<_> = found.into_iter().filter(|name| rooms().contains_key(name)).collect();
            assert!(modules.is_empty(), "{}: these modules are no API: {modules:?}", path.display());
        }
    }
}
