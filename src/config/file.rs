//! The configuration file: TOML, with all upstreams.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::{
    base_url,
    callers::{self, Caller, CallerRules},
    upstreams::{NamedUpstream, UpstreamTls, Upstreams},
    value,
};

/// Largest file that is read, the files that it names among them.
const MAX_BYTES: u64 = 1 << 20;

/// What the file holds, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) listen: Option<String>,
    pub(super) default_model: Option<String>,
    #[serde(default)]
    upstream: Vec<Entry>,
    #[serde(default)]
    caller: Vec<Caller>,
    caller_chosen: Option<CallerChosen>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    urls: Vec<String>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    fallback: Option<String>,
    api_key: Option<String>,
    resolve: Option<Resolve>,
    max_in_flight: Option<u32>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Resolve {
    All,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallerChosen {
    origins: Vec<String>,
}

/// Collects the faults of meaning, and what the files hold that are read for it.
#[derive(Default)]
struct Reader {
    faults: Vec<String>,
    seen: DefaultHasher,
}

/// Reads the file itself.
pub(super) fn read(path: &Path) -> Result<File, String> {
    let text = read_bounded(path)?;
    let text = String::from_utf8(text)
        .map_err(|_not_utf8| format!("{}: it is not UTF-8", path.display()))?;
    parse(&text).map_err(|fault| format!("{}: {fault}", path.display()))
}

/// The text, or the first fault of syntax or type with its line and column, without the text of the line, which may
/// hold a key.
fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default();
        let column = column.chars().count() + 1;
        format!("line {line}, column {column}: {}", error.message())
    })
}

/// What the file means; all its faults of meaning at once.
pub(super) fn understand(file: File, rules: CallerRules) -> Result<Upstreams, Vec<String>> {
    let mut all = DefaultHasher::new();
    format!("{file:?}").hash(&mut all);
    let mut reader = Reader::default();
    if file.upstream.is_empty() {
        let fault = "the configuration file has no [[upstream]]";
        reader.faults.push(fault.to_owned());
    }
    let names: Vec<_> = file.upstream.iter().map(|it| it.name.clone()).collect();
    reader.unique("name", &names);
    let mut known = Vec::new();
    for entry in &file.upstream {
        known.extend(entry.models.iter().chain(entry.aliases.keys()).cloned());
    }
    reader.unique("models and aliases", &known);
    let discovers = file.upstream.iter().any(|it| it.models.is_empty());
    let mut list = Vec::new();
    for entry in file.upstream {
        if let Some(fallback) = &entry.fallback
            && !known.contains(fallback)
            && !discovers
        {
            let name = &entry.name;
            reader.fault(name, "fallback", "no upstream lists that model");
        }
        list.push(reader.entry(entry));
    }
    let seen = list.iter().map(|it: &NamedUpstream| it.fingerprint);
    seen.for_each(|seen| seen.hash(&mut all));
    let origins = file.caller_chosen.map_or_else(Vec::new, |it| it.origins);
    let origins = origins.iter().filter_map(|text| reader.origin(text));
    let origins: BTreeSet<String> = origins.collect();
    let may_serve = |model: &String| discovers || known.contains(model);
    let more = callers::faults(&file.caller, rules, may_serve);
    reader.faults.extend(more);
    let faults = reader.faults;
    match faults.is_empty() {
        true => Ok(Upstreams {
            list,
            origins,
            callers: file.caller,
            fixed: [file.listen, file.default_model],
            fingerprint: all.finish(),
        }),
        false => Err(faults),
    }
}

// === impl Reader ===

impl Reader {
    fn fault(&mut self, name: &str, field: &str, fault: impl std::fmt::Display) {
        self.faults
            .push(format!("upstream {name:?}: {field}: {fault}"));
    }

    fn unique(&mut self, what: &str, names: &[String]) {
        let mut before = BTreeSet::new();
        for name in names.iter().filter(|name| !before.insert(*name)) {
            self.faults
                .push(format!("{what}: {name:?} is given more than once"));
        }
    }

    fn entry(&mut self, entry: Entry) -> NamedUpstream {
        self.seen = DefaultHasher::new();
        format!("{entry:?}").hash(&mut self.seen);
        let name = entry.name;
        if let Err(right) = value::name(&name) {
            self.fault(&name, "name", right);
        }
        if entry.urls.is_empty() {
            self.fault(&name, "urls", "expected at least one URL");
        }
        if entry.max_in_flight == Some(0) {
            self.fault(&name, "max_in_flight", "expected at least 1");
        }
        if entry.cert.is_some() != entry.key.is_some() {
            self.fault(&name, "cert and key", "expected both or none");
        }
        let mut urls = Vec::new();
        for text in &entry.urls {
            match base_url::read(text) {
                Ok(url) if urls.contains(&url) => self.fault(&name, "urls", format!("{url} twice")),
                Ok(url) => urls.push(url),
                Err(fault) => self.fault(&name, "urls", fault),
            }
        }
        for (alias, model) in &entry.aliases {
            if !entry.models.is_empty() && !entry.models.contains(model) {
                let fault = format!("{alias:?} stands for a model that `models` lacks");
                self.fault(&name, "aliases", fault);
            }
        }
        let api_key = entry.api_key.as_deref();
        let api_key = api_key.and_then(|source| self.api_key(&name, source));
        let tls = self.tls(&name, entry.ca, entry.cert, entry.key);
        NamedUpstream {
            name,
            urls,
            models: entry.models,
            aliases: entry.aliases,
            fallback: entry.fallback,
            api_key,
            all_addresses: entry.resolve.is_some(),
            max_in_flight: entry.max_in_flight.and_then(|max| max.try_into().ok()),
            tls,
            fingerprint: self.seen.finish(),
        }
    }

    /// PEM files that are there and that a client can be made of.
    fn tls(
        &mut self,
        name: &str,
        ca: Option<PathBuf>,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> UpstreamTls {
        let key = self.pem(name, "key", key);
        let key = key.map(|pem| String::from_utf8_lossy(&pem).into_owned());
        let tls = UpstreamTls {
            ca: self.pem(name, "ca", ca),
            cert: self.pem(name, "cert", cert),
            key: key.map(SecretString::from),
        };
        if let Err(fault) = tls.client(false) {
            self.fault(name, "ca, cert and key", fault);
        }
        tls
    }

    /// A key that the environment or a file holds.
    #[expect(
        clippy::disallowed_methods,
        reason = "`config` is what reads the environment"
    )]
    fn api_key(&mut self, name: &str, source: &str) -> Option<SecretString> {
        let held = match source.split_once(':') {
            Some(("env", variable)) => {
                env::var(variable).map_err(|_unset| format!("{variable} is unset or not UTF-8"))
            }
            Some(("file", path)) => read_bounded(Path::new(path)).and_then(|bytes| {
                String::from_utf8(bytes).map_err(|_not_utf8| format!("{path} is not UTF-8"))
            }),
            // The text is not repeated, since it may be the key itself.
            _ => Err("expected env:NAME or file:PATH, never the key itself".to_owned()),
        };
        let held = held.and_then(|text| {
            let text = text.trim();
            text.hash(&mut self.seen);
            let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            let wrong = "it is empty, or has a character that a header cannot carry";
            fits.then(|| SecretString::from(text))
                .ok_or_else(|| wrong.to_owned())
        });
        held.map_err(|fault| self.fault(name, "api_key", fault))
            .ok()
    }

    fn pem(&mut self, name: &str, field: &str, path: Option<PathBuf>) -> Option<Vec<u8>> {
        match read_bounded(&path?) {
            Ok(bytes) => {
                bytes.hash(&mut self.seen);
                Some(bytes)
            }
            Err(fault) => {
                self.fault(name, field, fault);
                None
            }
        }
    }

    /// Scheme, host and port, as `Url` writes them.
    fn origin(&mut self, text: &str) -> Option<String> {
        let url = base_url::read(text).ok().filter(|url| url.path() == "/");
        let origin = url.map(|url: Url| url.origin().ascii_serialization());
        if origin.is_none() {
            let right = "is not an origin, as http://my-server:8001";
            self.faults
                .push(format!("caller_chosen: origins: {text:?} {right}"));
        }
        origin
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let fault = |fault: &dyn std::fmt::Display| format!("{}: {fault}", path.display());
    let size = fs::metadata(path).map_err(|error| fault(&error))?.len();
    if size > MAX_BYTES {
        return Err(fault(&"larger than 1 MiB"));
    }
    fs::read(path).map_err(|error| fault(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn faults(text: &str) -> Vec<String> {
        understand(parse(text).unwrap(), CallerRules::default()).unwrap_err()
    }

    #[test]
    fn a_whole_file_is_understood() {
        let text = r#"
            listen = "0.0.0.0:50051"
            default_model = "chat"
            [[upstream]]
            name = "chat"
            urls = ["http://vllm-0:8000/v1", "http://vllm-1:8000/v1/"]
            models = ["Qwen/Qwen3-0.6B"]
            aliases = { chat = "Qwen/Qwen3-0.6B" }
            fallback = "small"
            resolve = "all"
            max_in_flight = 256
            [[upstream]]
            name = "embed"
            urls = ["http://embed:8001/v1"]
            [caller_chosen]
            origins = ["http://My-Server:80"]
        "#;
        let file = parse(text).unwrap();
        assert_eq!(file.listen.as_deref(), Some("0.0.0.0:50051"));
        let read = understand(file, CallerRules::default()).unwrap();
        let [chat, embed] = &read.list[..] else {
            panic!("{read:?}")
        };
        assert_eq!(chat.urls[1].as_str(), "http://vllm-1:8000/v1");
        assert_eq!(chat.max_in_flight, Some(256));
        assert!(chat.all_addresses && !embed.all_addresses);
        assert!(read.origins.contains("http://my-server"));
    }

    #[test]
    fn a_fault_of_syntax_or_type_has_its_place_and_no_text() {
        for (text, place) in [
            ("a = 1", "line 1, column 1"),
            ("listen = \"a\"\ndefault_model = 7", "line 2, column 17"),
            (
                "[[upstream]]\nname = \"a\"\nurls = [\"b\"]\napi-key = \"canary\"",
                "line 4, column 1",
            ),
            ("listen = \"canary", "line 1, column"),
            ("[[upstream]]\nname = \"a\"", "line 1, column 1"),
            (
                "[[upstream]]\nname=\"a\"\nurls=[]\nresolve=\"any\"",
                "line 4, column 9",
            ),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.starts_with(place), "{text}: {fault}");
            assert!(!fault.contains("canary"), "{fault}");
        }
    }

    #[test]
    fn faults_of_meaning_are_reported_together() {
        let found = faults(
            r#"
            [[upstream]]
            name = "a"
            urls = ["ftp://x", "http://a/v1", "http://a/v1"]
            models = ["m"]
            aliases = { n = "o" }
            api_key = "sk-canary"
            cert = "/no/such"
            [[upstream]]
            name = "a"
            urls = []
            models = ["m"]
            fallback = "z"
            max_in_flight = 0
            [[upstream]]
            name = "b c"
            urls = ["http://b/v1"]
            models = ["x"]
            api_key = "env:NO_SUCH_VARIABLE"
            [caller_chosen]
            origins = ["http://x/path"]
        "#,
        );
        let all = found.join("\n");
        for part in [
            "name: \"a\" is given more than once",
            "models and aliases: \"m\" is given",
            "urls: not a base URL",
            "http://a/v1 twice",
            "aliases: \"n\"",
            "expected env:NAME or file:PATH",
            "cert and key: expected both",
            "/no/such",
            "urls: expected at least one",
            "fallback: no upstream lists",
            "max_in_flight: expected at least 1",
            "expected 1 to 64 letters",
            "NO_SUCH_VARIABLE is unset",
            "is not an origin",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        assert!(!all.contains("canary"), "{all}");
    }
}
