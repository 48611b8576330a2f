//! Collects what is wrong with the values, so that all of it is told at once.

use std::{collections::BTreeSet, fmt::Display};

use super::Faults;

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Collector(Vec<String>);

impl Collector {
    /// Keeps a fault.
    pub(super) fn tell(&mut self, fault: String) {
        self.0.push(fault);
    }

    /// Keeps the value, or the fault under its flag's name.
    pub(super) fn keep<T, E: Display>(&mut self, flag: &str, value: Result<T, E>) -> Option<T> {
        value
            .map_err(|error| self.tell(format!("--{flag}: {error}")))
            .ok()
    }

    /// Keeps the names of a list, without spaces around them and without empty ones, or the fault of each that has one.
    pub(super) fn keep_each(
        &mut self,
        flag: &str,
        texts: &[String],
        read: fn(&str) -> Result<String, String>,
    ) -> Option<BTreeSet<String>> {
        let texts = texts.iter().map(|text| text.trim());
        let names = texts.filter(|text| !text.is_empty());
        let names: Vec<_> = names.map(|name| self.keep(flag, read(name))).collect();
        names.into_iter().collect()
    }

    /// The configuration, if it is whole and nothing was wrong.
    pub(super) fn finish<T>(self, whole: Option<T>) -> Result<T, Faults> {
        match whole {
            Some(whole) if self.0.is_empty() => Ok(whole),
            _ => Err(Faults(self.0)),
        }
    }
}
