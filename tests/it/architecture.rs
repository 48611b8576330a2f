//! The direction between modules, and what each of them must not do.
//!
//! `demo` is named by `main` alone, and `main` and `lib` may name everything.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A module of `src/`, with the files below it.
struct Module {
    name: &'static str,
    /// The other modules that it may name.
    may_name: &'static [&'static str],
    /// Words that its code must not hold; one that ends in `::` is the start of a path.
    must_not_hold: &'static [&'static str],
}

/// What pure code lacks: it waits for nothing, reads no clock, does no I/O, logs nothing and knows no transport.
const IMPURE: &[&str] = &[
    "Instant",
    "SystemTime",
    "async",
    "await",
    "env::",
    "fs::",
    "http::",
    "hyper::",
    "net::",
    "tokio::",
    "tonic::",
    "tracing::",
];

const MODULES: &[Module] = &[
    Module {
        name: "config",
        may_name: &[],
        must_not_hold: &["tokio::", "tonic::", "hyper::", "tracing::"],
    },
    Module {
        name: "demo",
        may_name: &[],
        must_not_hold: &["tonic::", "prost::", "env::", "tracing::"],
    },
    Module {
        name: "openai",
        may_name: &[],
        must_not_hold: IMPURE,
    },
    Module {
        name: "proto",
        may_name: &[],
        // The generated code comes in by tonic's macro.
        must_not_hold: &[
            "async",
            "await",
            "env::",
            "fs::",
            "net::",
            "tokio::",
            "tracing::",
        ],
    },
    Module {
        name: "server",
        may_name: &["config", "proto", "service", "telemetry", "upstream"],
        must_not_hold: &["env::"],
    },
    Module {
        name: "service",
        // `openai` for the words in which vLLM refuses.
        may_name: &[
            "config",
            "openai",
            "proto",
            "telemetry",
            "translate",
            "upstream",
        ],
        must_not_hold: &["env::", "hyper::"],
    },
    Module {
        name: "sse",
        may_name: &[],
        must_not_hold: IMPURE,
    },
    Module {
        name: "telemetry",
        may_name: &["config"],
        must_not_hold: &["tonic::", "env::"],
    },
    Module {
        name: "translate",
        may_name: &["config", "openai", "proto"],
        must_not_hold: IMPURE,
    },
    Module {
        name: "upstream",
        may_name: &["config", "openai", "sse"],
        must_not_hold: &["tonic::", "env::"],
    },
];

#[test]
fn modules_depend_in_one_direction() {
    let mut faults = Vec::new();
    for module in MODULES {
        for file in files(module.name) {
            let code = code(&file);
            let allowed = |name: &String| name == module.name || module.may_name.contains(&&**name);
            for name in named_modules(&code).filter(|name| !allowed(name)) {
                faults.push(format!("{} names {name}", file.display()));
            }
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn modules_leave_to_others_what_is_not_theirs() {
    let mut faults = Vec::new();
    for module in MODULES {
        for file in files(module.name) {
            let code = code(&file);
            let held = module.must_not_hold.iter();
            let held = held.filter(|word| holds(&code, word));
            faults.extend(held.map(|word| format!("{} holds `{word}`", file.display())));
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn every_module_has_its_place() {
    let found: BTreeSet<String> = fs::read_dir(src())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !["lib", "main"].contains(&name.as_str()))
        .collect();
    let listed = MODULES.iter().map(|module| module.name.to_owned());
    assert_eq!(found, listed.collect());
}

#[test]
fn a_dependency_is_found_however_it_is_written() {
    for (code, expected) in [
        ("use crate::proto;", &["proto"][..]),
        ("crate::sse::Decoder::new()", &["sse"]),
        (
            "use crate::{\n config::{self, Config},\n proto,\n};",
            &["config", "proto"],
        ),
        ("super::super::service::x()", &["service"]),
        ("use super::chunk;", &[]),
    ] {
        let named: Vec<String> = named_modules(code).collect();
        assert_eq!(named, expected, "{code}");
    }
}

#[test]
fn a_word_is_found_by_itself_alone() {
    for (code, word, expected) in [
        ("use std::env;\nenv::var()", "env::", true),
        ("env!(\"X\") + my_env::x()", "env::", false),
        ("url(\"http:\")", "http::", false),
        ("pub async fn x()", "async", true),
        ("use async_stream::x;", "async", false),
    ] {
        assert_eq!(holds(code, word), expected, "{code}");
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The files of a module, without those that hold tests alone.
fn files(module: &str) -> Vec<PathBuf> {
    let mut files = vec![src().join(format!("{module}.rs"))];
    let mut folders = vec![src().join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("tests" | "tests.rs") => {}
                _ if path.is_dir() => folders.push(path),
                _ => files.push(path),
            }
        }
    }
    files
}

/// A file's code, without comments and without the tests at its end.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    let lines: Vec<&str> = lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    lines.join("\n")
}

/// The modules that stand right below the root of each path, one by one or as a list in braces.
fn named_modules(code: &str) -> impl Iterator<Item = String> {
    ["crate::", "super::super::"]
        .into_iter()
        .flat_map(|root| code.split(root).skip(1))
        .flat_map(first_names)
}

/// The first name of a path, or of each path of the list that opens here.
fn first_names(path: &str) -> Vec<String> {
    let Some(list) = path.strip_prefix('{') else {
        return words(path).take(1).map(str::to_owned).collect();
    };
    let mut depth = 0_usize;
    let mut names = vec![String::new()];
    for character in list.chars() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ => names.last_mut().unwrap().push(character),
        }
    }
    let names = names.iter().filter_map(|path| words(path).next());
    names.map(str::to_owned).collect()
}

/// Whether the word is there by itself, and not as a part of a longer one.
fn holds(code: &str, word: &str) -> bool {
    match word.strip_suffix("::") {
        None => words(code).any(|it| it == word),
        Some(root) => code
            .split("::")
            .filter_map(|path| words(path).last().filter(|last| path.ends_with(last)))
            .any(|last| last == root),
    }
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
}
