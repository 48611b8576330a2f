//! The `.env` file of the working directory: defaults below the environment.

use std::{collections::HashMap, path::Path};

use clap::Command;

/// Gives each flag whose variable the environment lacks the value that `.env` has for it.
///
/// The file's values become the flags' defaults, so the order is: flag, environment, `.env`, built-in default. A
/// missing file is no fault; one that cannot be read is.
pub(super) fn apply(command: Command, path: &Path) -> Result<Command, String> {
    let values = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines
            .collect::<Result<HashMap<_, _>, _>>()
            .map_err(|error| format!("{}: {}", path.display(), fault(&error)))?,
        Err(error) if error.not_found() => return Ok(command),
        Err(error) => return Err(format!("{}: {}", path.display(), fault(&error))),
    };
    Ok(command.mut_args(|arg| {
        let value = arg
            .get_env()
            .and_then(|name| name.to_str())
            .and_then(|name| values.get(name));
        match value {
            // A switch is set by its variable's value, which clap reads the same way from a default.
            Some(value) => arg.default_value(value.clone()),
            None => arg,
        }
    }))
}

/// What is wrong, without the line itself, which may hold a key.
fn fault(error: &dotenvy::Error) -> String {
    match error {
        dotenvy::Error::LineParse(_line, position) => {
            format!("cannot be read at character {position} of a line")
        }
        dotenvy::Error::Io(error) => error.to_string(),
        dotenvy::Error::EnvVar(_) | _ => "cannot be read".to_owned(),
    }
}
