//! How a chat's template is applied.

use indexmap::IndexMap;

use crate::{
    openai::request::Json,
    proto,
    translate::{
        invalid::InvalidRequest,
        json,
        sampling::{at_most, text},
    },
};

/// Most documents for a chat template.
const MAX_DOCUMENTS: usize = 4096;

/// vLLM adds the start of a turn by default, and refuses to continue a turn at the same time.
pub(in crate::translate) fn add_generation_prompt(
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<bool>,
) -> Result<Option<bool>, InvalidRequest> {
    match (add_generation_prompt, continue_final_message) {
        (Some(true), Some(true)) => {
            let fields = ["add_generation_prompt", "continue_final_message"];
            let description =
                "`add_generation_prompt` and `continue_final_message` are mutually exclusive";
            Err(InvalidRequest::together(&fields, description))
        }
        (None, Some(true)) => Ok(Some(false)),
        (add_generation_prompt, _) => Ok(add_generation_prompt),
    }
}

/// Documents that the template may cite.
pub(in crate::translate) fn documents(
    documents: Vec<proto::TemplateDocument>,
) -> Result<Vec<IndexMap<String, String>>, InvalidRequest> {
    let documents = at_most("documents", documents, MAX_DOCUMENTS)?.into_iter();
    let document = |(n, document): (usize, proto::TemplateDocument)| {
        let mut members = IndexMap::new();
        for (m, proto::TemplateField { name, value }) in document.fields.into_iter().enumerate() {
            if members.insert(name, value).is_some() {
                let field = format!("documents[{n}].fields[{m}].name");
                let description = "is already the name of another field";
                return Err(InvalidRequest::new(field, description));
            }
        }
        Ok(members)
    };
    documents.enumerate().map(document).collect()
}

/// Variables of the template. Callers may set neither the template itself nor how it is applied; vLLM 0.33 refuses these
/// members, and older releases obey them.
pub(in crate::translate) fn kwargs(kwargs: String) -> Result<Option<Json>, InvalidRequest> {
    let field = "chat_template_kwargs_json";
    let Some(kwargs) = text(kwargs) else {
        return Ok(None);
    };
    let kwargs = json::object(field, kwargs, json::MAX_DEPTH)?;
    let members = json::members(field, &kwargs)?;
    for name in ["chat_template", "tokenize"] {
        if members.contains_key(name) {
            let description = format!("must not have a member `{name}`");
            return Err(InvalidRequest::new(field, description));
        }
    }
    Ok(Some(kwargs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_a_document_keep_their_order_and_differ() {
        let document = |names: &[&str]| proto::TemplateDocument {
            fields: names
                .iter()
                .map(|name| proto::TemplateField {
                    name: (*name).to_owned(),
                    value: String::new(),
                })
                .collect(),
        };
        let read = documents(vec![document(&["title", "text", ""])]).unwrap();
        let json = serde_json::to_string(&read).unwrap();
        assert_eq!(json, r#"[{"title":"","text":"","":""}]"#);
        let invalid = documents(vec![document(&["a"]), document(&["a", "b", "a"])]).unwrap_err();
        assert_eq!(invalid.fields(), "documents[1].fields[2].name");
    }
}
