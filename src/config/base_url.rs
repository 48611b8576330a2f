//! The base URL of the upstream.

use url::Url;

/// vLLM's routes below a base URL. Where two have the same end, the longer one comes first.
const ROUTES: [&str; 7] = [
    "/audio/transcriptions",
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/models",
    "/rerank",
    "/score",
];

/// A base URL without a trailing slash, a query or a fragment.
pub(super) fn read(text: &str) -> Result<Url, String> {
    let fault = |why: &str| format!("not a base URL, as http://localhost:8000/v1: {why}");
    if text.contains(',') {
        return Err(fault(
            "give one URL; several upstreams need a file (--config)",
        ));
    }
    let mut url = Url::parse(text).map_err(|error| fault(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(fault("it needs http or https and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault("put the key into OPENAI_API_KEY, not into the URL"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(fault("it has a query or a fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    if let Some(base) = base_of_route(&path) {
        url.set_path(base);
        return Err(format!("the URL of a route; the base URL is {url}"));
    }
    Ok(url)
}

/// The path of the base URL that is meant, where a path is that of a route.
fn base_of_route(path: &str) -> Option<&str> {
    let base = ROUTES.iter().find_map(|route| path.strip_suffix(route))?;
    // Other words, as `models`, may well stand in the path of a gateway.
    (base.ends_with("/v1") || path.ends_with("/completions")).then_some(base)
}
