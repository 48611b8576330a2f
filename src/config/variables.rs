//! Variables that are named as if they were the adapter's, and are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt,
};

use clap::{Command, CommandFactory};

use super::Args;

/// What the adapter's variables begin with, but for that of the key.
const PREFIX: &str = "ADAPTER_";

/// A variable that no flag has; what it holds is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// As it is written.
    pub name: String,
    /// The variable that is probably meant; `None` where no name is like it.
    pub nearest: Option<String>,
}

/// The variables of the environment that are named as the adapter's and are unknown to it.
///
/// They are no fault, since others may set them. Those that Kubernetes sets in every pod for a Service are left out.
#[must_use]
pub fn unknown_variables() -> Vec<UnknownVariable> {
    let names = env::vars_os().map(|(name, _value)| name.to_string_lossy().into_owned());
    of_environment(&names.collect())
}

fn of_environment(names: &BTreeSet<String>) -> Vec<UnknownVariable> {
    let hosts = names.iter();
    let services = hosts.filter_map(|name| name.strip_suffix("_SERVICE_HOST"));
    let services: Vec<&str> = services.chain(["ADAPTER"]).collect();
    let mut unknown = unknown(names);
    unknown.retain(|variable| !is_of_service(&variable.name, &services));
    unknown
}

/// Those of the names that are named as the adapter's and are unknown to it.
pub(super) fn unknown<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<UnknownVariable> {
    let known = known(&Args::command());
    let ours = names.into_iter().filter(|name| name.starts_with(PREFIX));
    let unknown = ours.filter(|name| !known.values().any(|known| known == *name));
    let unknown = unknown.map(|name| UnknownVariable {
        name: name.clone(),
        nearest: nearest(name, &known).map(str::to_owned),
    });
    unknown.collect()
}

/// The variables, each by its name and by that of its flag, without the prefix.
fn known(command: &Command) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for arg in command.get_arguments() {
        let Some(name) = arg.get_env().and_then(|name| name.to_str()) else {
            continue;
        };
        let flag = arg.get_long().unwrap_or_default();
        known.insert(flag.to_uppercase().replace('-', "_"), name.to_owned());
        known.insert(without_prefix(name).to_owned(), name.to_owned());
    }
    known
}

/// The known name that differs least, in the letters between a common beginning and a common end, if it does in no more
/// than half of them.
fn nearest<'a>(name: &str, known: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let name = without_prefix(name);
    let likeness = known.iter().map(|(spelling, known)| {
        let longer = name.len().max(spelling.len());
        (longer - n_alike(name, spelling), longer, known)
    });
    let alike = likeness.filter(|(n_unlike, longer, _)| 2 * n_unlike <= *longer);
    let nearest = alike.min_by_key(|(n_unlike, _, _)| *n_unlike);
    nearest.map(|(_, _, known)| known.as_str())
}

/// Bytes that two names have in common at their beginnings and at their ends.
fn n_alike(one: &str, other: &str) -> usize {
    let shorter = one.len().min(other.len());
    let pairs = one.bytes().zip(other.bytes());
    let n_first = pairs.take_while(|(one, other)| one == other).count();
    let pairs = one.bytes().rev().zip(other.bytes().rev());
    let pairs = pairs.take(shorter - n_first);
    n_first + pairs.take_while(|(one, other)| one == other).count()
}

fn without_prefix(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// Whether Kubernetes may have set it. Every pod is told of each Service: of one called `adapter` by `ADAPTER_PORT`,
/// `ADAPTER_SERVICE_HOST`, `ADAPTER_PORT_50051_TCP` and more.
fn is_of_service(name: &str, services: &[&str]) -> bool {
    let is_of = |service: &&str| {
        let rest = name.strip_prefix(service);
        rest.is_some_and(|rest| rest == "_PORT" || rest.starts_with("_PORT_"))
    };
    name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || services.iter().any(is_of)
}

// === impl UnknownVariable ===

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no variable of the adapter", self.name)?;
        match &self.nearest {
            Some(nearest) => write!(f, ", but {nearest} is"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_misspelt_name_is_told_with_the_one_that_is_meant() {
        for (name, nearest) in [
            ("ADAPTER_CONECT_TIMEOUT", Some("ADAPTER_CONNECT_TIMEOUT")),
            ("ADAPTER_LSITEN", Some("ADAPTER_LISTEN")),
            ("ADAPTER_MAX_CONNECTION", Some("ADAPTER_MAX_CONNECTIONS")),
            ("ADAPTER_UPSTREAM_URL", Some("ADAPTER_UPSTREAM")),
            ("ADAPTER_LISTEN_", Some("ADAPTER_LISTEN")),
            // By the flag's name.
            ("ADAPTER_UPSTREAM_API_KEY", Some("OPENAI_API_KEY")),
            ("ADAPTER_API_KEY", Some("OPENAI_API_KEY")),
            ("ADAPTER_COLOUR", None),
            ("ADAPTER_", None),
            ("ADAPTER_\u{fffd}", None),
        ] {
            let unknown = UnknownVariable {
                name: name.to_owned(),
                nearest: nearest.map(str::to_owned),
            };
            assert_eq!(of_environment(&names(&[name])), [unknown], "{name}");
        }
    }

    #[test]
    fn what_is_known_or_not_the_adapters_is_not_told() {
        let known = Args::command();
        let known = known.get_arguments().filter_map(|arg| arg.get_env());
        let mut all = names(&["PATH", "VLLM_PORT", "MY_ADAPTER_LISTEN", "adapter_listen"]);
        all.extend(known.map(|name| name.to_str().unwrap().to_owned()));
        assert!(all.len() > 30, "{all:?}");
        assert_eq!(of_environment(&all), []);
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_not_told() {
        let set = [
            "ADAPTER_PORT",
            "ADAPTER_PORT_50051_TCP",
            "ADAPTER_PORT_50051_TCP_ADDR",
            "ADAPTER_SERVICE_HOST",
            "ADAPTER_SERVICE_PORT",
            "ADAPTER_SERVICE_PORT_GRPC",
            "ADAPTER_EMBED_PORT",
            "ADAPTER_EMBED_PORT_50051_TCP_PROTO",
            "ADAPTER_EMBED_SERVICE_HOST",
            "ADAPTER_EMBED_SERVICE_PORT",
        ];
        assert_eq!(of_environment(&names(&set)), []);
        // Without a Service of that name.
        for name in ["ADAPTER_LISTEN_PORT", "ADAPTER_PORTS", "ADAPTER_SERVICE"] {
            assert_eq!(of_environment(&names(&[name])).len(), 1, "{name}");
        }
    }

    #[test]
    fn a_name_is_like_another_by_its_beginning_and_its_end() {
        for (one, other, n) in [
            ("", "", 0),
            ("abc", "abc", 3),
            ("abc", "abbc", 3),
            ("aa", "aaa", 2),
            ("abc", "axc", 2),
            ("abc", "xyz", 0),
        ] {
            assert_eq!(n_alike(one, other), n, "{one} {other}");
            assert_eq!(n_alike(other, one), n, "{other} {one}");
        }
    }
}
