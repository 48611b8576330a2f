//! What the documents list is what there is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A flag, its variable, and its default where it has one.
type Flag = (String, String, Option<String>);

/// gRPC's codes, whose names are the reasons of what the adapter passes on.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[test]
fn the_readme_lists_every_flag_as_the_help_does() {
    let help = flags_of_help(include_str!("help.txt"));
    assert!(help.len() > 20, "{help:?}");
    let readme = flags_of_readme(&text("README.md"));
    for (flag, variable, default) in &help {
        let row = readme.iter().find(|row| row.0 == *flag);
        let row = row.unwrap_or_else(|| panic!("README.md lacks {flag}"));
        assert_eq!((&row.1, flag), (variable, flag));
        // What has no default in the help may have its words in the README, as `none`.
        assert!(
            default.is_none() || row.2 == *default,
            "{row:?} {default:?}"
        );
    }
    assert_eq!(
        readme.len(),
        help.len(),
        "README.md lists a flag that is none"
    );
}

#[test]
fn callers_are_told_of_every_reason() {
    let code = reasons_of_code();
    assert!(code.len() > 40, "{code:?}");
    let told = reasons_of_table(&text("docs/CALLING.md"));
    assert_eq!(told, code);
}

/// Each flag of the help stands on a line of its own, with its variable and default below.
fn flags_of_help(help: &str) -> Vec<Flag> {
    let flags = help.split("\n      --").skip(1).filter_map(|option| {
        let name = option.split_whitespace().next()?;
        let variable = between(option, "[env: ", "]")?;
        let variable = variable.trim_end_matches('=').to_owned();
        let default = between(option, "[default: ", "]").map(str::to_owned);
        Some((format!("--{name}"), variable, default))
    });
    flags.collect()
}

/// The rows of the table of flags.
fn flags_of_readme(readme: &str) -> Vec<Flag> {
    let rows = readme.lines().filter(|line| line.starts_with("| `--"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')));
    let flags = cells.map(|cells| {
        let cells: Vec<_> = cells.map(str::to_owned).collect();
        (cells[1].clone(), cells[2].clone(), Some(cells[3].clone()))
    });
    flags.collect()
}

/// The reasons that the code gives: the texts in capitals in the two places that make statuses.
fn reasons_of_code() -> BTreeSet<String> {
    let service = root().join("src/service");
    let mut files = vec![service.join("error.rs")];
    let beside = fs::read_dir(service.join("error")).unwrap();
    files.extend(beside.map(|entry| entry.unwrap().path()));
    files.retain(|file| !file.ends_with("tests.rs"));
    let code = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let reasons = code.flat_map(|code| texts(&code)).filter(|text| {
        let is_code = CODES.contains(&text.as_str());
        // Who has left is told nothing: that one is in the log alone.
        is_reason(text) && !is_code && text != "CALLER_CANCELLED"
    });
    reasons.collect()
}

/// The texts in quotes of a file's code, without comments and without the tests at its end.
fn texts(code: &str) -> Vec<String> {
    let lines = code.lines().take_while(|line| *line != "#[cfg(test)]");
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    let texts = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    texts.map(str::to_owned).collect()
}

/// The reasons in the second column of the table of codes.
fn reasons_of_table(page: &str) -> BTreeSet<String> {
    let heading = "| code | reasons |";
    let table = page.lines().skip_while(|line| !line.starts_with(heading));
    let rows = table.take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(2));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

fn is_reason(text: &str) -> bool {
    text.len() > 4
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?
        .1
        .split_once(end)
        .map(|(text, _)| text)
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
