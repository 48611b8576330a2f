//! Checks what the parsers of single values cannot, and keeps every fault, so that all are reported at once.

use std::{collections::BTreeSet, fmt};

use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};
use url::Host;

use super::{Args, Caller, Config, Server, Source, Upstream, UpstreamTls, Upstreams, base_url};

/// All faults of a configuration, one per line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(pub(super) Vec<String>);

/// Limits that contradict each other.
fn contradictions(server: &Server) -> impl Iterator<Item = String> {
    let memory = "--max-request-memory: must be at least 4 times --max-request-bytes, which is what a message holds";
    let most = server.max_request_bytes.saturating_mul(4);
    let memory = (server.max_request_memory < most).then_some(memory);
    let padding = "--pad-responses: must be at most --max-response-bytes";
    let padding = (server.pad_responses > Some(server.max_response_bytes)).then_some(padding);
    memory.into_iter().chain(padding).map(str::to_owned)
}

/// A key that can stand in a header; an empty one counts as none.
pub(super) fn api_key(key: Option<SecretString>) -> Result<Option<SecretString>, String> {
    let Some(key) = key else { return Ok(None) };
    let text = key.expose_secret().trim();
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("contains a character that a header cannot carry".to_owned());
    }
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

/// Checks that each part of a log filter is a level or gives one to a module.
///
/// A word alone would be read as the name of a module, and a misspelt level would silence the log.
fn filter(text: &str) -> Result<(), String> {
    let is_level = |word: &&str| word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok();
    let words = text.split(',').filter(|word| !word.trim().is_empty());
    let (levels, others): (Vec<_>, Vec<_>) = words.partition(is_level);
    if levels.is_empty() || !others.is_empty() {
        let levels = "off, error, warn, info, debug or trace, or MODULE=LEVEL";
        return Err(format!("in {text:?}, each part must be {levels}"));
    }
    let parsed = text.parse::<EnvFilter>();
    parsed.map_err(|error| format!("{text:?} is not a log filter: {error}"))?;
    Ok(())
}

/// Members of every request's body that the contract or the adapter sets, so that `extra_body_json` can never hold
/// them. Those that only some requests set may be of use in the others.
pub(crate) const ALWAYS_TAKEN: [&str; 2] = ["model", "request_id"];

/// A key that `extra_body_json` may carry.
fn extra_body_key(text: &str) -> Result<String, String> {
    match text {
        text if ALWAYS_TAKEN.contains(&text) => Err(format!("{text:?} is set by the adapter")),
        text => key(text),
    }
}

/// The name of a member of a JSON object.
fn key(text: &str) -> Result<String, String> {
    match text {
        "*" => Err("`*` is not allowed: name each key".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// A host as a URL names it, or `*` for any.
fn host(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    // A resolver looks up letters, digits and `-` (RFC 1123), and `_`, which is in use.
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_part);
    let is_name = |name: &str| name.split('.').all(is_label);
    match Host::parse(text) {
        Ok(Host::Domain(name)) if !is_name(&name) => None,
        parsed => parsed.ok(),
    }
    .map(|host| host.to_string())
    .ok_or_else(|| format!("{text:?} is not a host's name or address, as media.example or [::1]"))
}

fn callers(upstreams: Option<&(Upstreams, Source)>) -> Vec<Caller> {
    upstreams.map_or_else(Vec::new, |(it, _source)| it.callers.clone())
}

// === impl Config ===

impl Config {
    /// Checks what the parsers of single values cannot; on failure every fault is in the error.
    ///
    /// # Errors
    ///
    /// A URL, key, name or log filter that cannot be used, and limits that contradict each other.
    pub fn try_from_args(args: Args) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let source = Source::of(&args);
        let base_url = faults.keep("upstream", base_url::read(&args.upstream));
        let api_key = faults.keep("upstream-api-key", api_key(args.api_key));
        let api_key = api_key.flatten();
        let mut policy = args.policy;
        policy.default_model.take_if(|model| model.is_empty());
        policy.extra_body_keys =
            faults.keep_each("allow-extra-body", &args.allow_extra_body, extra_body_key);
        policy.extension_keys = faults.keep_each("allow-extensions", &args.allow_extensions, key);
        policy.media_hosts = faults.keep_each("allow-media-hosts", &args.allow_media_hosts, host);
        faults.keep("log", filter(&args.log.filter));
        faults.0.extend(contradictions(&args.server));
        faults.0.extend(args.server.tls.contradictions());
        let upstreams = source.and_then(|source| faults.upstreams(source));
        if args.web.playground && args.web.listen.is_none() && args.command.is_none() {
            let fault = "--playground: needs --web-listen, the port that the page is on";
            faults.0.push(fault.to_owned());
        }
        match base_url {
            Some(base_url) if faults.0.is_empty() => Ok(Self {
                listen: args.listen,
                admin_listen: args.admin_listen,
                server: args.server,
                web: args.web,
                upstream: Upstream {
                    base_url,
                    api_key_source: match api_key {
                        Some(_) => args.api_key_source,
                        None => "none".to_owned(),
                    },
                    api_key,
                    connect_timeout: args.connect_timeout,
                    idle_timeout: args.upstream_idle_timeout,
                    max_event_bytes: args.max_event_bytes,
                    max_body_bytes: args.max_body_bytes,
                    probe_interval: args.probe_interval,
                    tls: UpstreamTls::default(),
                    address: None,
                },
                callers: callers(upstreams.as_ref()),
                upstreams,
                forward_authorization: args.forward_authorization,
                limits: args.limits,
                policy,
                log: args.log,
            }),
            _ => Err(faults),
        }
    }
}

// === impl Faults ===

impl Faults {
    /// Keeps the value, or the fault under its flag's name.
    fn keep<T>(&mut self, flag: &str, value: Result<T, String>) -> Option<T> {
        let kept = value.map_err(|fault| self.0.push(format!("--{flag}: {fault}")));
        kept.ok()
    }

    /// Keeps what the file says, or its faults.
    fn upstreams(&mut self, source: Source) -> Option<(Upstreams, Source)> {
        match source.read() {
            Ok(upstreams) => return Some((upstreams, source)),
            Err(Self(more)) => self.0.extend(more),
        }
        None
    }

    /// Keeps the names of a list, without spaces around them and without empty ones, and the faults of the others.
    fn keep_each(
        &mut self,
        flag: &str,
        texts: &[String],
        read: fn(&str) -> Result<String, String>,
    ) -> BTreeSet<String> {
        let names = texts.iter().map(|text| text.trim());
        let names = names.filter(|name| !name.is_empty());
        let names = names.filter_map(|name| self.keep(flag, read(name)));
        names.collect()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_gives_levels() {
        for text in [
            "info",
            "WARN",
            "off",
            "5",
            "warn,hyper=debug,",
            "[call]=trace",
            "info,[call{id}]",
        ] {
            assert_eq!(filter(text), Ok(()), "{text}");
        }
        for text in ["wran", "info,wran", "vllm_grpc_adapter", "", " ", ","] {
            let fault = filter(text).unwrap_err();
            assert!(
                fault.contains("off, error, warn, info, debug or trace"),
                "{fault}"
            );
        }
        for text in ["a=b", "vllm_grpc_adapter=wran", "a=b=c"] {
            assert!(
                filter(text).is_err_and(|fault| fault.contains(text)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_key_is_named_and_is_not_one_that_the_adapter_sets() {
        assert_eq!(extra_body_key("chat_template"), Ok("chat_template".into()));
        assert_eq!(key("model"), Ok("model".into()));
        for text in ["*", "model", "request_id"] {
            assert!(
                extra_body_key(text).is_err_and(|fault| fault.contains(text)),
                "{text}"
            );
        }
        assert!(key("*").is_err());
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (text, expected) in [
            ("*", "*"),
            ("Media.Example", "media.example"),
            ("a_b-c.example", "a_b-c.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0::1]", "[::1]"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "http://media.example",
            "media.example/path",
            "media.example:80",
            "user@media.example",
            "*.example",
            "media..example",
            "media.example.",
            "a b",
            "a!b",
            "::1",
            "256.0.0.1",
        ] {
            assert!(
                host(text).is_err_and(|fault| fault.contains(text)),
                "{text}"
            );
        }
    }
}
