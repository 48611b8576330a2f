use serde_json::{Value, json};

use super::*;

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn pairs(queries: &[&str], documents: &[&str]) -> proto::ScoreRequest {
    proto::ScoreRequest {
        queries: owned(queries),
        documents: owned(documents),
        ..proto::ScoreRequest::default()
    }
}

fn ranked(query: &str, documents: &[&str]) -> proto::RerankRequest {
    proto::RerankRequest {
        query: query.to_owned(),
        documents: owned(documents),
        ..proto::RerankRequest::default()
    }
}

fn score_body(request: proto::ScoreRequest) -> Result<Value, String> {
    let body = score_request(request, &Policy::default());
    body.map(|body| serde_json::to_value(body).unwrap())
        .map_err(|invalid| invalid.violations()[0].field.clone())
}

fn rerank_body(request: proto::RerankRequest) -> Result<Value, String> {
    let body = rerank_request(request, &Policy::default());
    body.map(|body| serde_json::to_value(body).unwrap())
        .map_err(|invalid| invalid.violations()[0].field.clone())
}

#[test]
fn one_query_is_scored_with_many_or_each_with_its_own() {
    for (queries, documents, expected) in [
        (&["q"][..], &["a", "b"][..], json!("q")),
        (&["q"], &["a"], json!("q")),
        (&["q", "r"], &["a", "b"], json!(["q", "r"])),
        (&[""], &["a", ""], json!("")),
    ] {
        let body = score_body(pairs(queries, documents)).unwrap();
        assert_eq!(body, json!({"text_1": expected, "text_2": documents}));
    }
}

#[test]
fn every_option_goes_out() {
    let options = json!({
        "model": "m", "instruction": "i", "use_activation": false, "max_tokens_per_query": 0,
        "max_tokens_per_doc": 4, "truncate_prompt_tokens": -1, "truncation_side": "right",
        "chat_template_kwargs": {"a": 1}, "priority": 1_i64 << 40,
    });
    let with = |own: Value| {
        let mut all = options.clone();
        let members = own.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(members);
        all
    };
    let score = proto::ScoreRequest {
        model: "m".to_owned(),
        instruction: "i".to_owned(),
        use_activation: Some(false),
        max_tokens_per_query: Some(0),
        max_tokens_per_document: Some(4),
        truncate_prompt_tokens: Some(-1),
        truncation_side: proto::TruncationSide::Right.into(),
        chat_template_kwargs_json: r#"{"a":1}"#.to_owned(),
        priority: Some(1 << 40),
        ..pairs(&["q"], &["a"])
    };
    let own = json!({"text_1": "q", "text_2": ["a"]});
    assert_eq!(score_body(score).unwrap(), with(own));
    let rerank = proto::RerankRequest {
        model: "m".to_owned(),
        top_n: Some(1),
        instruction: "i".to_owned(),
        use_activation: Some(false),
        max_tokens_per_query: Some(0),
        max_tokens_per_document: Some(4),
        truncate_prompt_tokens: Some(-1),
        truncation_side: proto::TruncationSide::Right.into(),
        chat_template_kwargs_json: r#"{"a":1}"#.to_owned(),
        priority: Some(1 << 40),
        ..ranked("q", &["a"])
    };
    let own = json!({"query": "q", "documents": ["a"], "top_n": 1});
    assert_eq!(rerank_body(rerank).unwrap(), with(own));
}

#[test]
fn a_query_and_a_document_may_be_empty() {
    let body = rerank_body(ranked("", &["", "a"])).unwrap();
    assert_eq!(body, json!({"query": "", "documents": ["", "a"]}));
}

#[test]
fn what_no_upstream_can_rank_is_refused() {
    for (request, field) in [
        (pairs(&[], &["a"]), "queries"),
        (pairs(&["q"], &[]), "documents"),
        (pairs(&["q", "r"], &["a"]), "queries"),
        (pairs(&["q", "r"], &["a", "b", "c"]), "queries"),
    ] {
        assert_eq!(score_body(request), Err(field.to_owned()));
    }
    let negative = proto::RerankRequest {
        top_n: Some(-1),
        ..ranked("q", &["a"])
    };
    let cut = proto::RerankRequest {
        max_tokens_per_document: Some(-1),
        ..ranked("q", &["a"])
    };
    for (request, field) in [
        (ranked("q", &[]), "documents"),
        (negative, "top_n"),
        (cut, "max_tokens_per_document"),
    ] {
        assert_eq!(rerank_body(request), Err(field.to_owned()));
    }
}

#[test]
fn scores_come_in_the_order_of_the_documents() {
    let answer = |json: &str| score_response(serde_json::from_str(json).unwrap(), 2);
    let json = r#"{"id":"score-1","created":7,"model":"m","data":[{"index":1,"object":"score","score":0.05272766947746277},
        {"index":0,"object":"score","score":-1}],"usage":{"prompt_tokens":9,"total_tokens":9}}"#;
    let told = answer(json).unwrap();
    assert_eq!(told.scores, [-1.0, 0.052_727_669_477_462_77]);
    assert_eq!((told.id.as_str(), told.model.as_str()), ("score-1", "m"));
    assert_eq!(told.usage.unwrap().total_tokens, Some(9));
    for data in [
        r#"{"index":0,"score":1}"#,
        r#"{"index":0,"score":1},{"index":0,"score":1}"#,
        r#"{"index":0,"score":1},{"index":2,"score":1}"#,
    ] {
        assert!(
            answer(&format!(r#"{{"data":[{data}]}}"#)).is_err(),
            "{data}"
        );
    }
}

#[test]
fn documents_come_in_the_order_of_the_upstream() {
    let answer = |results: &str, top_n| {
        let json = format!(r#"{{"id":"score-1","model":"m","results":[{results}]}}"#);
        rerank_response(serde_json::from_str(&json).unwrap(), 2, top_n, false)
    };
    let (one, zero) = (
        r#"{"index":1,"document":{"text":"b"},"relevance_score":0.5}"#,
        r#"{"index":0,"document":{"text":"a"},"relevance_score":0.25}"#,
    );
    let both = format!("{one},{zero}");
    for (results, top_n, expected) in [
        (both.as_str(), None, &[(1, 0.5), (0, 0.25)][..]),
        (&both, Some(0), &[(1, 0.5), (0, 0.25)]),
        (&both, Some(7), &[(1, 0.5), (0, 0.25)]),
        (one, Some(1), &[(1, 0.5)]),
    ] {
        let told = answer(results, top_n).unwrap().results;
        let told: Vec<_> = told
            .iter()
            .map(|it| (it.index.unwrap(), it.relevance_score.unwrap()))
            .collect();
        assert_eq!(told, expected, "{top_n:?}");
    }
    let alike = both.replace("0.25", "0.5");
    assert!(answer(&alike, None).is_ok(), "{alike}");
    for (results, top_n) in [
        (one, None),
        (&both, Some(1)),
        (&format!("{zero},{one}"), None),
        (&format!("{zero},{one}"), Some(2)),
        (&format!("{one},{one}"), None),
        (&both.replace("\"index\":1", "\"index\":2"), None),
    ] {
        assert!(answer(results, top_n).is_err(), "{results}");
    }
}

#[test]
fn a_document_comes_where_it_was_asked_for() {
    let answer = |document: &str, with_documents| {
        let json = format!(r#"{{"results":[{{"index":0,"relevance_score":1{document}}}]}}"#);
        let answer = rerank_response(
            serde_json::from_str(&json).unwrap(),
            1,
            None,
            with_documents,
        );
        answer.map(|answer| answer.results[0].document.clone())
    };
    let text = r#","document":{"text":"a","multi_modal":null}"#;
    assert_eq!(answer(text, true), Ok("a".to_owned()));
    assert_eq!(answer(text, false), Ok(String::new()));
    assert_eq!(answer("", false), Ok(String::new()));
    assert!(answer("", true).is_err());
    let media = r#","document":{"text":null,"multi_modal":[]}"#;
    assert_eq!(answer(media, true), Ok(String::new()));
}

fn with_media(text: &str) -> proto::MultimodalText {
    use proto::content_part::Part;

    let image = proto::Media {
        cache_key: "k".to_owned(),
        ..proto::Media::default()
    };
    let parts = [Part::Text(text.to_owned()), Part::Image(image)];
    let parts = parts.map(|part| proto::ContentPart {
        part: Some(part),
        ..proto::ContentPart::default()
    });
    proto::MultimodalText {
        parts: parts.into(),
    }
}

#[test]
fn texts_with_media_go_out_as_content_parts() {
    let parts = |text: &str| {
        json!({"content": [
            {"type": "text", "text": text},
            {"type": "image_url", "image_url": null, "uuid": "k"},
        ]})
    };
    let mut score = pairs(&["q"], &[]);
    score.multimodal_documents = vec![with_media("a"), with_media("b")];
    let expected = json!({"text_1": "q", "text_2": [parts("a"), parts("b")]});
    assert_eq!(score_body(score), Ok(expected));
    let mut score = pairs(&[], &["a"]);
    score.multimodal_queries = vec![with_media("q")];
    let expected = json!({"text_1": parts("q"), "text_2": ["a"]});
    assert_eq!(score_body(score), Ok(expected));
    let mut rerank = ranked("", &[]);
    rerank.multimodal_query = Some(with_media("q"));
    rerank.multimodal_documents = vec![with_media("a")];
    let expected = json!({"query": parts("q"), "documents": [parts("a")]});
    assert_eq!(rerank_body(rerank), Ok(expected));
}

#[test]
fn texts_with_media_are_refused_by_name() {
    let mut both = pairs(&["q"], &["a"]);
    both.multimodal_documents = vec![with_media("a")];
    assert_eq!(score_body(both), Err("documents".to_owned()));
    let mut both = pairs(&["q"], &["a"]);
    both.multimodal_queries = vec![with_media("q")];
    assert_eq!(score_body(both), Err("queries".to_owned()));
    let mut both = ranked("q", &["a"]);
    both.multimodal_query = Some(with_media("q"));
    assert_eq!(rerank_body(both), Err("query".to_owned()));
    let mut empty = ranked("q", &[]);
    empty.multimodal_documents = vec![with_media("a"), proto::MultimodalText::default()];
    let field = "multimodal_documents[1].parts".to_owned();
    assert_eq!(rerank_body(empty.clone()), Err(field));
    empty.multimodal_documents[1].parts = vec![proto::ContentPart::default()];
    let field = "multimodal_documents[1].parts[0]".to_owned();
    assert_eq!(rerank_body(empty), Err(field));
}
