//! The direction between modules and between files, and what each module must not do.
//!
//! `demo` and the simulated vLLM are named by `main` alone, and `main` and `lib` may name everything.

use std::{
    collections::{BTreeMap, BTreeSet},
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
        name: "access",
        may_name: &["config"],
        must_not_hold: &["tonic::", "hyper::", "env::"],
    },
    Module {
        name: "ask",
        may_name: &["config", "proto", "telemetry"],
        must_not_hold: &["hyper::", "env::", "tracing::"],
    },
    Module {
        name: "config",
        may_name: &[],
        must_not_hold: &["tokio::", "tonic::", "hyper::", "tracing::"],
    },
    Module {
        name: "demo",
        may_name: &["config"],
        must_not_hold: &["tokio::", "tonic::", "env::", "tracing::"],
    },
    Module {
        name: "openai",
        may_name: &[],
        must_not_hold: IMPURE,
    },
    Module {
        name: "proto",
        may_name: &[],
        must_not_hold: &["async", "await", "env::", "fs::", "net::", "tracing::"],
    },
    Module {
        name: "server",
        may_name: &["access", "config", "proto", "service", "telemetry"],
        must_not_hold: &["env::"],
    },
    Module {
        name: "service",
        // `openai` for the words in which vLLM refuses.
        may_name: &[
            "access",
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
        name: "startup",
        may_name: &["config"],
        must_not_hold: &["tokio::", "tonic::", "env::", "tracing::"],
    },
    Module {
        name: "telemetry",
        may_name: &["config", "proto"],
        must_not_hold: &["tonic::", "env::"],
    },
    Module {
        name: "translate",
        may_name: &["config", "openai", "proto"],
        must_not_hold: IMPURE,
    },
    Module {
        name: "upstream",
        may_name: &["access", "config", "openai", "sse", "telemetry"],
        must_not_hold: &["tonic::", "env::"],
    },
];

#[test]
fn modules_depend_in_one_direction() {
    let mut faults = Vec::new();
    for module in MODULES {
        for file in files(module.name) {
            let here = module_path(&file);
            for path in named_paths(&code(&file), &here) {
                let root = path[0].as_str();
                let is_module = MODULES.iter().any(|module| module.name == root);
                if is_module && root != module.name && !module.may_name.contains(&root) {
                    faults.push(format!("{} names {root}", file.display()));
                }
            }
        }
    }
    assert_eq!(faults, [""; 0]);
}

/// A file and those below its folder count as one place for what they take from each other, as Rust's privacy has it.
#[test]
fn files_depend_in_one_direction() {
    let all: BTreeMap<Vec<String>, PathBuf> = MODULES
        .iter()
        .flat_map(|module| files(module.name))
        .map(|file| (module_path(&file), file))
        .collect();
    let mut arrows: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for (here, file) in &all {
        for path in named_paths(&code(file), here) {
            let longest = (1..=path.len()).rev().map(|n| &path[..n]);
            let Some((there, _)) = longest.into_iter().find_map(|path| all.get_key_value(path))
            else {
                continue;
            };
            if !here.starts_with(there) && !there.starts_with(here) {
                arrows.entry(here).or_default().insert(there);
            }
        }
    }
    let reaches = |from: &[String], to: &[String]| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            for there in arrows.get(file).into_iter().flatten().copied() {
                if there == to {
                    return true;
                }
                if seen.insert(there) {
                    next.push(there);
                }
            }
        }
        false
    };
    let circles = all.keys().filter(|file| reaches(file, file));
    let circles: Vec<String> = circles.map(|file| file.join("::")).collect();
    assert_eq!(circles, [""; 0], "these files are part of a circle");
}

#[test]
fn modules_leave_to_others_what_is_not_theirs() {
    let mut faults = Vec::new();
    for module in MODULES {
        for file in files(module.name) {
            let code = code(&file);
            let held = module.must_not_hold.iter().chain(&["fake_vllm"]);
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
fn a_path_is_found_however_it_is_written() {
    let here = ["a", "b"].map(str::to_owned);
    for (code, expected) in [
        ("use crate::proto;", &["proto"][..]),
        ("crate::sse::Decoder::new()", &["sse::Decoder::new"]),
        (
            "use crate::{\n config::{self, Config},\n proto,\n};",
            &["config::self", "config::Config", "proto"],
        ),
        ("use super::{c::D, e};", &["a::c::D", "a::e"]),
        ("super::super::service::x()", &["service::x"]),
        ("use self::f::G;", &["a::b::f::G"]),
        ("use tonic::Code;", &[]),
    ] {
        let named: Vec<String> = named_paths(code, &here)
            .iter()
            .map(|path| path.join("::"))
            .collect();
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

/// `service::error` for `src/service/error.rs`.
fn module_path(file: &Path) -> Vec<String> {
    let below = file.strip_prefix(src()).unwrap().with_extension("");
    let names = below.iter().map(|name| name.to_str().unwrap().to_owned());
    names.collect()
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

/// The paths into this crate that the code of a module names, from the crate's root on, one by one or in braces.
fn named_paths(code: &str, here: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(start) = ["crate::", "super::", "self::"]
        .iter()
        .filter_map(|root| rest.find(root))
        .min()
    {
        let is_whole = !rest[..start].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
        let (root, mut after) = rest[start..].split_once("::").unwrap();
        let mut base = match root {
            "crate" => Vec::new(),
            "super" => here[..here.len() - 1].to_vec(),
            _ => here.to_vec(),
        };
        while let Some(next) = after.strip_prefix("super::") {
            base.pop();
            after = next;
        }
        if is_whole {
            tree(&base, after, &mut paths);
        }
        rest = after;
    }
    paths
}

/// The paths of a `use` tree, or of one path, that begins here.
fn tree(base: &[String], text: &str, paths: &mut Vec<Vec<String>>) {
    let name_end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    let (name, after) = text.split_at(name_end.unwrap_or(text.len()));
    let mut path = base.to_vec();
    path.extend((!name.is_empty()).then(|| name.to_owned()));
    if let Some(below) = after.strip_prefix("::") {
        return tree(&path, below, paths);
    }
    let Some(list) = after.strip_prefix('{').filter(|_| name.is_empty()) else {
        if !path.is_empty() {
            paths.push(path);
        }
        return;
    };
    let (mut depth, mut start) = (0_usize, 0);
    for (place, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = list[start..place].trim();
                if !item.is_empty() {
                    tree(&path, item, paths);
                }
                start = place + 1;
                if character == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
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
