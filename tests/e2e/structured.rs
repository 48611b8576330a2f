use vllm_grpc_adapter::proto::{
    AnyJsonObject, FinishReason, GenerateRequest, TextChoices, structured_output::Constraint,
};

use crate::support::{adapter::Adapter, requests::constrained, streamed::Streamed, vllm};

const PERSON: &str = r#"{
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"]
}"#;

/// Checks the text of the unary and of the streamed answer.
async fn check(request: GenerateRequest, is_right: impl Fn(&str) -> bool) {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let mut client = adapter.generation();
    let unary = client.generate(request.clone()).await.unwrap();
    let streamed = Streamed::read(&mut client, request).await.unwrap();
    for answer in [unary.into_inner(), streamed.answer] {
        let choice = &answer.choices[0];
        let text = &choice.message.as_ref().unwrap().content;
        assert!(is_right(text), "{text:?}");
        assert_eq!(choice.finish_reason(), FinishReason::Stop, "{text:?}");
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_regex_holds() {
    let request = constrained("Say hello.", Constraint::Regex("[0-9]{3}-[a-f]{4}".into()));
    check(request, |text| {
        let (digits, letters) = text.split_once('-').unwrap();
        let is_digits = digits.len() == 3 && digits.bytes().all(|it| it.is_ascii_digit());
        is_digits && letters.len() == 4 && letters.bytes().all(|it| matches!(it, b'a'..=b'f'))
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn one_of_the_choices_comes() {
    let values = ["red", "green", "blue"];
    let choices = TextChoices {
        values: values.map(String::from).into(),
    };
    let request = constrained("Say hello.", Constraint::Choice(choices));
    check(request, |text| values.contains(&text)).await;
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_grammar_holds() {
    let grammar = r#"root ::= "yes" | "no""#;
    let request = constrained("Say hello.", Constraint::Grammar(grammar.into()));
    check(request, |text| ["yes", "no"].contains(&text)).await;
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_schema_holds() {
    let request = constrained("Write a person.", Constraint::JsonSchema(PERSON.into()));
    check(request, |text| {
        let person: serde_json::Value = serde_json::from_str(text).unwrap();
        person["name"].is_string() && person["age"].is_i64()
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_json_object_comes() {
    let request = constrained("Write JSON.", Constraint::JsonObject(AnyJsonObject {}));
    check(request, |text| {
        serde_json::from_str::<serde_json::Value>(text).is_ok_and(|json| json.is_object())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn an_object_cut_by_its_length_says_so() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let request = GenerateRequest {
        max_tokens: Some(5),
        ..constrained("Write a person.", Constraint::JsonSchema(PERSON.into()))
    };
    let answer = adapter.generation().generate(request).await.unwrap();
    let choice = &answer.get_ref().choices[0];
    assert_eq!(choice.finish_reason(), FinishReason::Length);
    let text = &choice.message.as_ref().unwrap().content;
    assert!(text.starts_with('{') && !text.ends_with('}'), "{text:?}");
}
