//! Variables that look like the adapter's and are not.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the module that reads the environment"
)]

use std::{collections::BTreeSet, env, ffi::OsStr};

use super::args;

/// The variables that begin with `ADAPTER_` and belong to no flag.
///
/// They are no fault, since others may have set them. Those that Kubernetes sets for Services are left out.
#[must_use]
pub fn unknown_variables() -> Vec<String> {
    let names = env::vars_os().map(|(name, _value)| name.to_string_lossy().into_owned());
    unknown(&names.collect())
}

/// Whether the environment names a collector of OpenTelemetry's, and a protocol that it is spoken to by.
pub(crate) fn exports_traces() -> Result<bool, &'static str> {
    let is = |name: &str, value: &str| env::var_os(name).unwrap_or_default() == value;
    let is_set = |name: &str| !is(name, "");
    if is_set("OTEL_EXPORTER_OTLP_PROTOCOL") && !is("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc") {
        return Err("OTEL_EXPORTER_OTLP_PROTOCOL must be grpc");
    }
    let has_endpoint =
        is_set("OTEL_EXPORTER_OTLP_ENDPOINT") || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    Ok(has_endpoint && !is("OTEL_SDK_DISABLED", "true") && !is("OTEL_TRACES_EXPORTER", "none"))
}

fn unknown(names: &BTreeSet<String>) -> Vec<String> {
    let flags = args::command();
    let known: BTreeSet<_> = flags
        .get_arguments()
        .filter_map(|arg| arg.get_env())
        .collect();
    let ours = names.iter().filter(|name| name.starts_with("ADAPTER_"));
    let unknown = ours.filter(|name| !known.contains(OsStr::new(name)));
    let unknown = unknown.filter(|name| !is_service_link(name, names));
    unknown.cloned().collect()
}

/// Whether Kubernetes may have set it: for a Service named `adapter` it sets `ADAPTER_PORT`, `ADAPTER_SERVICE_HOST`,
/// `ADAPTER_PORT_50051_TCP` and more in every pod.
fn is_service_link(name: &str, names: &BTreeSet<String>) -> bool {
    let service = name.strip_suffix("_PORT");
    let is_service = |service| names.contains(&format!("{service}_SERVICE_HOST"));
    let is_link = |part: &&str| name.contains(part);
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"]
        .iter()
        .any(is_link)
        || name == "ADAPTER_PORT"
        || service.is_some_and(is_service)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_misspelt_name_is_reported() {
        for name in [
            "ADAPTER_CONECT_TIMEOUT",
            "ADAPTER_UPSTREAM_API_KEY",
            "ADAPTER_",
            "ADAPTER_\u{fffd}",
        ] {
            assert_eq!(unknown(&names(&[name, "ADAPTER_LISTEN"])), [name]);
        }
    }

    #[test]
    fn known_and_unrelated_names_are_not_reported() {
        let known = args::command();
        let known = known.get_arguments().filter_map(|arg| arg.get_env());
        let mut all = names(&["PATH", "VLLM_PORT", "MY_ADAPTER_LISTEN", "adapter_listen"]);
        all.extend(known.map(|name| name.to_str().unwrap().to_owned()));
        assert!(all.len() > 30, "{all:?}");
        assert_eq!(unknown(&all), [""; 0]);
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
        assert_eq!(unknown(&names(&set)), [""; 0]);
        // There is no Service of that name.
        for name in ["ADAPTER_LISTEN_PORT", "ADAPTER_PORTS", "ADAPTER_SERVICE"] {
            assert_eq!(unknown(&names(&[name])).len(), 1, "{name}");
        }
    }
}
