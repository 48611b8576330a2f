//! `docs/COVERAGE.md`: every route and field of vLLM's API, by its own `OpenAPI` document and by the tables of names.
//!
//! With `UPDATE_SNAPSHOTS=1` in the environment the page is written anew. A field of another vLLM that no table and no
//! reason here speaks of fails the test.

mod members;
mod reasons;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use serde::Deserialize;

use super::*;
use reasons::{NOT_SERVED, REASONS};

const OPENAPI: &str = include_str!("../../../../tests/vllm/openapi-0.32.0.json");

const HEAD: &str = "\
# What of vLLM's API a caller reaches

Every route of vLLM 0.32.0, and every field of what is sent to those that are served, by vLLM's own OpenAPI document, which says little of answers.
`UPDATE_SNAPSHOTS=1 cargo test coverage` writes this page from [`tests/vllm/openapi-0.32.0.json`](../tests/vllm/openapi-0.32.0.json), which `tests/vllm/openapi.py` makes, and from the tables by which the adapter names fields.
`cargo test` fails where the page is another, and where a field has no place.

| place | meaning |
|---|---|
| `field` | that field of the request message |
| by `extra_body_json` | no typed field; the operator may allow it (`--allow-extra-body`) |
| ignored | vLLM takes it and does nothing with it: refused by name in `extra_body_json`, unless the operator allows it there for what stands before vLLM |
| the adapter's | set by the adapter; refused in `extra_body_json` |
| none | cannot be sent |
";

#[derive(Deserialize)]
pub(super) struct Openapi {
    /// The schemas of the bodies, by method and path.
    routes: BTreeMap<String, Vec<String>>,
    /// The names of the properties.
    pub(super) schemas: BTreeMap<String, Vec<String>>,
}

/// A route that is served: who serves it, the names of its request, and where its input goes.
type Served = (&'static str, &'static str, &'static Names, &'static str);

const SERVED: [Served; 11] = [
    (
        "POST /v1/chat/completions",
        "`GenerationService`",
        &GENERATE,
        "`prompt` or `messages`",
    ),
    (
        "POST /v1/chat/completions/batch",
        "`GenerationService`'s `Generate`",
        &GENERATE_BATCH,
        "`conversations`",
    ),
    (
        "POST /v1/completions",
        "`GenerationService`",
        &GENERATE,
        "`completion`",
    ),
    (
        "POST /v1/embeddings",
        "`EmbeddingService`'s `Embed`",
        &super::super::EMBED,
        "`texts`, `token_inputs` or `conversations`",
    ),
    (
        "POST /pooling",
        "`EmbeddingService`'s `Pool`",
        &super::super::POOL,
        "`texts`, `token_inputs` or `conversations`",
    ),
    (
        "POST /classify",
        "`ClassificationService`",
        &super::super::CLASSIFY,
        "`texts`, `token_inputs` or `conversations`",
    ),
    (
        "POST /score",
        "`RankingService`'s `Score`",
        &SCORE,
        "`documents`",
    ),
    (
        "POST /rerank",
        "`RankingService`'s `Rerank`",
        &RERANK,
        "`documents` or `multimodal_documents`",
    ),
    (
        "POST /tokenize",
        "`TokenizationService`'s `Tokenize`",
        &TOKENIZE,
        "`text` or `messages`",
    ),
    (
        "POST /detokenize",
        "`TokenizationService`'s `Detokenize`",
        &DETOKENIZE,
        "`token_ids`",
    ),
    (
        "POST /v1/audio/transcriptions",
        "`TranscriptionService`'s `Transcribe` and `StreamTranscribe`; `/v1/audio/translations`, which has no \
         `timestamp_granularities[]`, is `Translate` and `StreamTranslate`",
        &super::super::TRANSCRIBE,
        "`audio`",
    ),
];

/// Routes of the same bodies as a served one, or without a body.
const ALSO_SERVED: [(&str, &str); 7] = [
    ("GET /health", "`grpc.health.v1`"),
    ("GET /v1/models", "`ModelService`"),
    (
        "GET /version",
        "what an upstream can do; told by `ListModels`",
    ),
    (
        "POST /v1/audio/translations",
        "`TranscriptionService`'s `Translate` and `StreamTranslate`",
    ),
    ("POST /v1/rerank", "as `/rerank`"),
    ("POST /v1/score", "as `/score`"),
    ("POST /v2/rerank", "as `/rerank`"),
];

#[test]
fn coverage_is_as_printed() {
    let openapi: Openapi = serde_json::from_str(OPENAPI).unwrap();
    let mut page = HEAD.to_owned();
    routes(&mut page, &openapi);
    let mut untold = Vec::new();
    for served in &SERVED {
        fields(&mut page, &openapi, served, &mut untold);
    }
    assert!(
        untold.is_empty(),
        "without a field and a reason: {untold:?}"
    );
    ignored(&mut page, &openapi);
    members::print(&mut page, &openapi);

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/COVERAGE.md");
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch of the tests, and a page that they may write"
    )]
    {
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let printed = std::fs::read_to_string(path).unwrap();
        assert!(printed == page, "UPDATE_SNAPSHOTS=1 cargo test coverage");
    }
}

fn routes(page: &mut String, openapi: &Openapi) {
    page.push_str("\n## Routes\n\n| route | served by |\n|---|---|\n");
    let served = SERVED
        .iter()
        .map(|(route, by, ..)| (*route, (*by).to_owned()));
    let also = ALSO_SERVED
        .iter()
        .map(|(route, by)| (*route, (*by).to_owned()));
    let not = NOT_SERVED
        .iter()
        .map(|(route, why)| (*route, format!("not served: {why}")));
    let told: BTreeMap<_, _> = served.chain(also).chain(not).collect();
    for route in openapi.routes.keys() {
        let by = told.get(route.as_str());
        let by = by.unwrap_or_else(|| panic!("{route} is neither served nor told of"));
        writeln!(page, "| `{route}` | {by} |").unwrap();
    }
    for route in told.keys() {
        assert!(openapi.routes.contains_key(*route), "vLLM has no {route}");
    }
}

fn fields(
    page: &mut String,
    openapi: &Openapi,
    (route, by, names, input): &Served,
    untold: &mut Vec<String>,
) {
    write!(
        page,
        "\n## {route}\n\nBy {by}.\n\n| vLLM's field | place | why |\n|---|---|---|\n"
    )
    .unwrap();
    let bodies = openapi.routes[*route].iter();
    let properties = bodies.flat_map(|body| &openapi.schemas[body]);
    let properties: BTreeSet<&str> = properties.map(String::as_str).collect();
    for name in properties {
        let (place, needs_reason) = place(name, names, input);
        let why = reason(route, name);
        if why.is_none() && needs_reason {
            untold.push(format!("{route} {name}"));
        }
        writeln!(page, "| `{name}` | {place} | {} |", why.unwrap_or_default()).unwrap();
    }
}

/// Fields of a chat that vLLM's document does not have.
fn ignored(page: &mut String, openapi: &Openapi) {
    page.push_str(
        "\n## Fields of OpenAI's, and of older vLLMs, that vLLM does not know\n\n\
         vLLM takes every field, does nothing with those that it does not know, and echoes none. So these are refused by \
         name in `extra_body_json`, unless the operator allows them for what stands before vLLM.\n\n\
         | field | in its place |\n|---|---|\n",
    );
    let bodies = SERVED[..3]
        .iter()
        .flat_map(|(route, ..)| &openapi.routes[*route]);
    let known: BTreeSet<&str> = bodies
        .flat_map(|body| openapi.schemas[body].iter().map(String::as_str))
        .collect();
    let ignored = GENERATE.ignored.split_whitespace();
    for name in ignored.filter(|name| !known.contains(name)) {
        let why = reason("POST /v1/chat/completions", name).unwrap_or("none");
        writeln!(page, "| `{name}` | {why} |").unwrap();
    }
}

/// Where a field goes, and whether that asks for a reason.
fn place(name: &str, names: &Names, input: &str) -> (String, bool) {
    if has_word(names.own, name) {
        return ("the adapter's".to_owned(), true);
    }
    let same = field(names.message, name);
    if let Some(ours) = names.renamed(name).filter(|_| same.is_none()) {
        return (format!("`{ours}`"), false);
    }
    if has_word(names.inputs, name) {
        return (input.to_owned(), false);
    }
    if names.ignores(name) {
        return ("ignored".to_owned(), false);
    }
    match same {
        Some(_) => (format!("`{name}`"), false),
        None => ("by `extra_body_json`".to_owned(), true),
    }
}

fn reason(route: &str, name: &str) -> Option<&'static str> {
    let (_, path) = route.split_once(' ').unwrap();
    let mut reasons = REASONS.iter();
    let reason = reasons.find(|(routes, names, _)| {
        has_word(names, name) && (routes.is_empty() || has_word(routes, path))
    });
    reason.map(|(_, _, why)| *why)
}
