//! What the header declares is what programs of this ABI were built with: `abi/interface.txt` is its dump, to which declarations
//! may be added. `PG_UPDATE_ABI=1 cargo test --test abi` (`make generate`) adds them.

use std::collections::BTreeSet;

use super::{read, root};

/// The text without comments, and without lines of the preprocessor except for the numbers that it defines.
fn plain(header: &str) -> String {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").unwrap().1;
    }
    code += rest;
    let lines = code.lines().map(|line| line.split("//").next().unwrap().trim());
    let kept = lines.map(|line| match line.strip_prefix("#define ").map(|number| number.split_once(' ')) {
        Some(Some((name, number))) => format!("define {name} {number};"),
        _ if line.starts_with('#') || line == "extern \"C\" {" => String::new(),
        _ => line.to_owned(),
    });
    kept.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parts of a text between separators that are in no brackets.
fn split(text: &str, separator: char) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_i32);
    for letter in text.chars() {
        match letter {
            '{' | '(' => depth += 1,
            '}' | ')' => depth -= 1,
            _ => {}
        }
        if letter == separator && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(letter);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// A function without the names of its parameters, which programs do not use.
fn without_names(declaration: &str) -> String {
    let Some((head, parameters)) = declaration.strip_suffix(')').and_then(|text| text.rsplit_once('('))
    else {
        return declaration.to_owned();
    };
    let unnamed = |parameter: String| {
        let kind = parameter.trim_end_matches(|letter: char| letter == '_' || letter.is_ascii_alphanumeric());
        if kind.is_empty() { parameter } else { kind.trim_end().to_owned() }
    };
    let parameters: Vec<_> = split(parameters, ',').into_iter().map(unnamed).collect();
    format!("{head}({})", parameters.join(", "))
}

/// One line for each number, member, type and function. A member has its place: none may come before it later.
fn declarations(header: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for statement in split(&plain(header), ';') {
        // The end of the block for C++.
        let statement = statement.trim_start_matches(['}', ' ']);
        let (head, body) = match statement.split_once(" {") {
            Some((head, body)) => (head, body.rsplit_once('}').unwrap().0),
            None => (statement, ""),
        };
        let name = head.trim_start_matches("typedef ");
        if name.starts_with("enum ") && !body.is_empty() {
            // Without a semicolon of its own in C: what follows is the type of its numbers.
            found.extend(split(body, ',').into_iter().map(|number| format!("{name}: {number}")));
        } else if name.starts_with("struct ") && !body.is_empty() {
            let members = split(body, ';').into_iter().enumerate();
            found.extend(members.map(|(at, member)| format!("{name} {at}: {}", without_names(&member))));
        } else if !head.is_empty() {
            found.insert(without_names(head));
        }
    }
    found
}

/// What programs would break by, and what is new.
fn compared(committed: &BTreeSet<String>, now: &BTreeSet<String>) -> (Vec<String>, Vec<String>) {
    (committed.difference(now).cloned().collect(), now.difference(committed).cloned().collect())
}

#[test]
fn nothing_that_the_header_declared_is_changed_or_gone() {
    let text = read("abi/interface.txt");
    let committed = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    let now = declarations(&read("include/paymentsgate_auth.h"));
    let (gone, new) = compared(&committed, &now);
    let number = format!("define PG_ABI_VERSION {}", paymentsgate_auth::ffi::PG_ABI_VERSION);
    let is_same_abi = committed.contains(&number);
    assert!(
        gone.is_empty() || !is_same_abi,
        "programs that were built with the header of this ABI would break: declare this as it was, or raise \
         PG_ABI_VERSION and ABI_MAJOR:\n  {}\ninstead there is now:\n  {}",
        gone.join("\n  "),
        new.join("\n  ")
    );
    if std::env::var("PG_UPDATE_ABI").as_deref() == Ok("1") {
        let remarks = text.lines().filter(|line| line.starts_with('#')).map(str::to_owned);
        let lines: Vec<_> = remarks.chain(now).collect();
        std::fs::write(root().join("abi/interface.txt"), lines.join("\n") + "\n").unwrap();
        return;
    }
    assert!(
        gone.is_empty() && new.is_empty(),
        "abi/interface.txt lacks declarations of the header: add one to the second number of the library's version in \
         Cargo.toml, and run `make generate`:\n  {}",
        new.join("\n  ")
    );
}

#[test]
fn a_changed_declaration_is_told_from_an_added_one() {
    let header = read("include/paymentsgate_auth.h");
    let before = declarations(&header);
    let changes = [
        ("PG_ERR_CLOSED = 4", "PG_ERR_CLOSED = 6", true),
        ("uint64_t pg_token_generation(", "uint32_t pg_token_generation(", true),
        ("int64_t pg_token_lifetime_ms(const struct pg_token *token);", "", true),
        ("bool pg_error_is_retryable(const", "bool pg_error_is_retryable(int32_t flags, const", true),
        ("void *context;", "int32_t kind;\n    void *context;", true),
        (
            "const char *owner,\n                    uint32_t lease_ms",
            "const char *owner,\n                    uint64_t lease_ms",
            true,
        ),
        ("PG_TIMEOUT_DEFAULT -1", "PG_TIMEOUT_DEFAULT -3", true),
        ("PG_ERR_CLOSED = 4,", "PG_ERR_CLOSED = 4, PG_ERR_NEW = 999,", false),
        (
            "void (*free)(void *context);",
            "void (*free)(void *context); int32_t (*list)(void *context);",
            false,
        ),
        ("void pg_token_free(", "void pg_token_more(void);\nvoid pg_token_free(", false),
    ];
    for (from, to, breaks) in changes {
        assert!(header.contains(from), "the header has no {from}");
        let (gone, new) = compared(&before, &declarations(&header.replacen(from, to, 1)));
        assert_eq!(
            (!gone.is_empty(), !new.is_empty() || to.is_empty()),
            (breaks, true),
            "{from}: {gone:?} {new:?}"
        );
    }
    // A name of a parameter is nobody's.
    let renamed = header.replace("const struct pg_token *token", "const struct pg_token *it");
    assert_eq!(declarations(&renamed), before);
}
