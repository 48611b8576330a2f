//! Variables that look like the adapter's and are not.

use std::{collections::BTreeSet, env};

use clap::CommandFactory;

use super::Args;

const PREFIX: &str = "ADAPTER_";

/// Least similarity of a name to the one that is suggested in its place, from 0 to 1; clap uses the same for flags.
const MIN_SIMILARITY: f64 = 0.7;

/// A variable that begins with `ADAPTER_` and belongs to no flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The variable that is probably meant; `None` where no name is similar.
    pub nearest: Option<String>,
}

/// The variables of the environment, and of a `.env` file that was loaded, that look like the adapter's and are not.
///
/// They are no fault, since others may have set them. Those that Kubernetes sets for Services are left out.
#[must_use]
pub fn unknown_variables() -> Vec<UnknownVariable> {
    let names = env::vars_os().map(|(name, _value)| name.to_string_lossy().into_owned());
    unknown(&names.collect())
}

fn unknown(names: &BTreeSet<String>) -> Vec<UnknownVariable> {
    // The flags' names, since that of the key's variable is another.
    let known = Args::command();
    let known = known.get_arguments().filter_map(|arg| {
        let flag = arg.get_long()?.to_uppercase().replace('-', "_");
        Some((flag, arg.get_env()?.to_str()?.to_owned()))
    });
    let known: Vec<_> = known.collect();
    let ours = names.iter().filter(|name| name.starts_with(PREFIX));
    let unknown = ours.filter(|name| !known.iter().any(|(_, known)| known == *name));
    let unknown = unknown.filter(|name| !is_service_link(name, names));
    let unknown = unknown.map(|name| UnknownVariable {
        name: name.clone(),
        nearest: nearest(name, &known),
    });
    unknown.collect()
}

/// Whether Kubernetes may have set it: for a Service named `adapter` it sets `ADAPTER_PORT`, `ADAPTER_SERVICE_HOST`,
/// `ADAPTER_PORT_50051_TCP` and more in every pod.
fn is_service_link(name: &str, names: &BTreeSet<String>) -> bool {
    let service = name.strip_suffix("_PORT");
    let is_service = |service| names.contains(&format!("{service}_SERVICE_HOST"));
    name == "ADAPTER_PORT"
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || service.is_some_and(is_service)
}

fn nearest(name: &str, known: &[(String, String)]) -> Option<String> {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let similar = known
        .iter()
        .map(|(flag, variable)| (strsim::jaro(name, flag), variable));
    let similar = similar.filter(|(similarity, _)| *similarity > MIN_SIMILARITY);
    let nearest = similar.max_by(|(one, _), (other, _)| one.total_cmp(other));
    nearest.map(|(_, variable)| variable.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_misspelt_name_is_reported_with_the_one_that_is_meant() {
        for (name, nearest) in [
            ("ADAPTER_CONECT_TIMEOUT", Some("ADAPTER_CONNECT_TIMEOUT")),
            ("ADAPTER_LSITEN", Some("ADAPTER_LISTEN")),
            ("ADAPTER_MAX_CONNECTION", Some("ADAPTER_MAX_CONNECTIONS")),
            ("ADAPTER_LISTEN_PORT", Some("ADAPTER_LISTEN")),
            ("ADAPTER_UPSTREAM_API_KEY", Some("OPENAI_API_KEY")),
            ("ADAPTER_COLOUR", None),
            ("ADAPTER_", None),
            ("ADAPTER_\u{fffd}", None),
        ] {
            let expected = UnknownVariable {
                name: name.to_owned(),
                nearest: nearest.map(str::to_owned),
            };
            assert_eq!(unknown(&names(&[name])), [expected], "{name}");
        }
    }

    #[test]
    fn known_and_unrelated_names_are_not_reported() {
        let known = Args::command();
        let known = known.get_arguments().filter_map(|arg| arg.get_env());
        let mut all = names(&["PATH", "VLLM_PORT", "MY_ADAPTER_LISTEN", "adapter_listen"]);
        all.extend(known.map(|name| name.to_str().unwrap().to_owned()));
        assert!(all.len() > 30, "{all:?}");
        assert_eq!(unknown(&all), []);
    }

    #[test]
    fn service_links_of_kubernetes_are_not_reported() {
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
        assert_eq!(unknown(&names(&set)), []);
        // There is no Service of that name.
        for name in ["ADAPTER_LISTEN_PORT", "ADAPTER_PORTS", "ADAPTER_SERVICE"] {
            assert_eq!(unknown(&names(&[name])).len(), 1, "{name}");
        }
    }
}
