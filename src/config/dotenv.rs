//! The `.env` file of the working directory: defaults below the environment.

use std::{collections::BTreeMap, fs, io::ErrorKind, path::Path};

use clap::Command;

/// What the file sets, by name. A missing file is no fault; one that cannot be read is.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let fault = |why: String| format!("{}: {why}", path.display());
    match fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|error| fault(describe(&error, &text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(fault(error.to_string())),
    }
}

/// Gives each flag whose variable the environment lacks the value that the file has for it.
///
/// The file's values become the flags' defaults, so the order is: flag, environment, `.env`, built-in default.
pub(super) fn apply(command: Command, values: &BTreeMap<String, String>) -> Command {
    command.mut_args(|arg| {
        let value = arg
            .get_env()
            .and_then(|name| name.to_str())
            .and_then(|name| values.get(name));
        match value {
            // A switch is set by its variable's value, which clap reads the same way from a default.
            Some(value) => arg.default_value(value.clone()),
            None => arg,
        }
    })
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, dotenvy::Error> {
    dotenvy::from_read_iter(text.as_bytes()).collect()
}

/// What is wrong, without the line itself, which may hold a key.
fn describe(error: &dotenvy::Error, text: &str) -> String {
    match error {
        dotenvy::Error::LineParse(_line, position) => {
            let line = fault_line(text);
            format!("line {line} cannot be read at its character {position}")
        }
        dotenvy::Error::Io(error) => error.to_string(),
        dotenvy::Error::EnvVar(_) | _ => "cannot be read".to_owned(),
    }
}

/// The number of the line that begins what cannot be read: the one after the longest beginning that can be, since a
/// value in quotes may have several lines.
fn fault_line(text: &str) -> usize {
    let ends = text.match_indices('\n').map(|(end, _)| end + 1);
    let readable = ends.enumerate().filter(|(_, end)| {
        let beginning = text.get(..*end);
        beginning.is_some_and(|beginning| parse(beginning).is_ok())
    });
    readable
        .last()
        .map_or(1, |(lines_before, _)| lines_before + 2)
}
