//! The routes of vLLM that the adapter uses.

/// A route of vLLM (vLLM 0.33): below `/v1`, which is a part of the base URL, or with a slash at the server's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Route(&'static str);

impl Route {
    pub(crate) const CHAT_BATCH: Self = Self("chat/completions/batch");
    pub(crate) const CHAT_COMPLETIONS: Self = Self("chat/completions");
    pub(crate) const CLASSIFY: Self = Self("/classify");
    pub(crate) const COMPLETIONS: Self = Self("completions");
    pub(crate) const DETOKENIZE: Self = Self("/detokenize");
    pub(crate) const EMBEDDINGS: Self = Self("embeddings");
    pub(crate) const HEALTH: Self = Self("/health");
    pub(crate) const MODELS: Self = Self("models");
    pub(crate) const POOLING: Self = Self("/pooling");
    pub(crate) const RERANK: Self = Self("/rerank");
    pub(crate) const SCORE: Self = Self("/score");
    pub(crate) const TOKENIZE: Self = Self("/tokenize");
    pub(crate) const TRANSCRIPTIONS: Self = Self("audio/transcriptions");
    pub(crate) const TRANSLATIONS: Self = Self("audio/translations");
    pub(crate) const VERSION: Self = Self("/version");

    /// The routes that show what a model can do: vLLM has those of the model's own tasks (vLLM 0.32).
    pub(super) const TELLING: [Self; 5] = [
        Self::CHAT_COMPLETIONS,
        Self::CLASSIFY,
        Self::EMBEDDINGS,
        Self::SCORE,
        Self::TRANSCRIPTIONS,
    ];

    /// What it does, by the conventions for GenAI of OpenTelemetry, or by its own name where they have none.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::CHAT_COMPLETIONS => "chat",
            Self::COMPLETIONS => "text_completion",
            Self(path) => path.rsplit('/').next().unwrap_or(path),
        }
    }

    /// Its path on a server whose base URL has that path.
    pub(super) fn path(self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        match self.0.strip_prefix('/') {
            Some(route) => format!("{}/{route}", base.strip_suffix("/v1").unwrap_or(base)),
            None => format!("{base}/{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_stands_below_the_base_or_beside_it() {
        for (base, models, score) in [
            ("/v1", "/v1/models", "/score"),
            ("/v1/", "/v1/models", "/score"),
            ("/a/v1", "/a/v1/models", "/a/score"),
            ("/a", "/a/models", "/a/score"),
            ("/", "/models", "/score"),
        ] {
            assert_eq!(Route::MODELS.path(base), models, "{base}");
            assert_eq!(Route::SCORE.path(base), score, "{base}");
        }
    }
}
