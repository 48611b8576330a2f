//! The routes of vLLM that are asked.

/// A route of vLLM (vLLM 0.33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    path: &'static str,
    is_root: bool,
}

impl Route {
    pub(crate) const CHAT_COMPLETIONS: Self = Self::below("chat/completions");
    pub(crate) const COMPLETIONS: Self = Self::below("completions");
    pub(crate) const DETOKENIZE: Self = Self::beside("detokenize");
    pub(crate) const EMBEDDINGS: Self = Self::below("embeddings");
    pub(crate) const MODELS: Self = Self::below("models");
    pub(crate) const RERANK: Self = Self::beside("rerank");
    pub(crate) const SCORE: Self = Self::beside("score");
    pub(crate) const TOKENIZE: Self = Self::beside("tokenize");
    pub(crate) const TRANSCRIPTIONS: Self = Self::below("audio/transcriptions");
    pub(crate) const VERSION: Self = Self::beside("version");

    /// The routes that tell what a model can do: vLLM has those of the model's own tasks (vLLM 0.32).
    pub(super) const TELLING: [Self; 4] = [
        Self::CHAT_COMPLETIONS,
        Self::EMBEDDINGS,
        Self::SCORE,
        Self::TRANSCRIPTIONS,
    ];

    /// A route below `/v1`, which is a part of the base URL.
    const fn below(path: &'static str) -> Self {
        Self {
            path,
            is_root: false,
        }
    }

    /// A route at the server's root, beside `/v1`.
    const fn beside(path: &'static str) -> Self {
        Self {
            path,
            is_root: true,
        }
    }

    /// Its path on a server whose base URL has that path.
    pub(super) fn path(self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        let base = if self.is_root {
            base.strip_suffix("/v1").unwrap_or(base)
        } else {
            base
        };
        format!("{base}/{}", self.path)
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
