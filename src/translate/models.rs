//! The models of an upstream.

use super::answer::create_time;
use crate::{
    openai::{
        model::{ModelCard, ModelList},
        version::Version,
    },
    proto,
};

/// What an upstream serves beside its models.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    /// Its name in the configuration.
    pub(crate) name: String,
    /// Its release; `None` where it does not report one.
    pub(crate) version: Option<Version>,
    /// Full names of the services that it has routes for; empty where that is unknown.
    pub(crate) services: Vec<&'static str>,
}

/// The models, in the order in which vLLM lists them.
pub(crate) fn models(list: ModelList, server: &Server) -> Vec<proto::Model> {
    let cards = list.data.into_iter();
    cards.map(|card| model(card, server)).collect()
}

/// The model of that id or alias, or the default one where it is empty: the one that vLLM lists first.
pub(crate) fn find(models: Vec<proto::Model>, id: &str) -> Option<proto::Model> {
    let is_it = |model: &proto::Model| {
        id.is_empty() || model.id == id || model.aliases.iter().any(|alias| alias == id)
    };
    models.into_iter().find(is_it)
}

fn model(card: ModelCard, server: &Server) -> proto::Model {
    proto::Model {
        id: card.id,
        create_time: card.created.as_ref().and_then(create_time),
        owned_by: card.owned_by.unwrap_or_default(),
        root: card.root.filter(|root| !is_path(root)).unwrap_or_default(),
        parent: card.parent.unwrap_or_default(),
        max_model_len: card.max_model_len.and_then(|len| i32::try_from(len).ok()),
        upstream_version: server
            .version
            .map(|version| version.to_string())
            .unwrap_or_default(),
        services: server.services.iter().map(ToString::to_string).collect(),
        upstream: server.name.clone(),
        aliases: Vec::new(),
    }
}

/// Whether a root is a path in the upstream's file system, which no caller should see.
fn is_path(root: &str) -> bool {
    root.starts_with(['/', '.', '~']) || root.contains('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"object":"list","data":[
        {"id":"z","created":7,"owned_by":"vllm","root":"org/z","parent":null,"max_model_len":2048},
        {"id":"a","root":"/models/z","parent":"z"}]}"#;

    fn list() -> ModelList {
        serde_json::from_str(LIST).unwrap()
    }

    fn server() -> Server {
        Server {
            name: "u".to_owned(),
            version: Some(Version::new(0, 33, 0)),
            services: vec!["s"],
        }
    }

    #[test]
    fn every_field_is_told_but_paths() {
        let [z, a] = models(list(), &server()).try_into().unwrap();
        assert_eq!(
            z,
            proto::Model {
                id: "z".to_owned(),
                create_time: create_time(&7.into()),
                owned_by: "vllm".to_owned(),
                root: "org/z".to_owned(),
                max_model_len: Some(2048),
                upstream_version: "0.33.0".to_owned(),
                services: vec!["s".to_owned()],
                upstream: "u".to_owned(),
                ..proto::Model::default()
            }
        );
        assert_eq!((a.parent.as_str(), a.root.as_str()), ("z", ""));
        assert_eq!((a.create_time, a.max_model_len), (None, None));
    }

    #[test]
    fn a_model_is_found_by_its_id_or_as_the_first() {
        for (id, expected) in [("", Some("z")), ("a", Some("a")), ("b", None)] {
            let found = find(models(list(), &Server::default()), id);
            assert_eq!(found.map(|model| model.id).as_deref(), expected, "{id}");
        }
    }

    #[test]
    fn a_path_is_told_from_a_name() {
        for (root, expected) in [
            ("org/model", false),
            ("model", false),
            ("/models/x", true),
            ("./x", true),
            ("~/x", true),
            ("C:\\x", true),
        ] {
            assert_eq!(is_path(root), expected, "{root}");
        }
    }
}
