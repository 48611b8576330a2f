use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use vllm_grpc_adapter::proto::{ChatMessage, CompletionInput, GenerateRequest, structured_output};

use crate::support::{
    adapter::Adapter,
    requests::{completion, constrained, prompt},
    streamed::Streamed,
    vllm,
};

/// The errors of the request, unary and streamed, each with its code and its reason.
async fn check(
    adapter: &Adapter,
    request: GenerateRequest,
    code: Code,
    reason: &str,
) -> [Status; 2] {
    let mut client = adapter.generation();
    let unary = client.generate(request.clone()).await.err();
    let streamed = Streamed::read(&mut client, request).await.err();
    [unary, streamed].map(|status| {
        let status = status.expect("an error");
        assert_eq!(status.code(), code, "{status:?}");
        let info = status.get_details_error_info().expect("ErrorInfo");
        assert_eq!(info.reason, reason, "{status:?}");
        assert_eq!(info.domain, "vllm-grpc-adapter");
        let request = status.get_details_request_info().expect("RequestInfo");
        assert!(!request.request_id.is_empty());
        status
    })
}

/// The paths that a `BadRequest` names.
fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().expect("BadRequest");
    let violations = details.field_violations.into_iter();
    violations.map(|violation| violation.field).collect()
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn an_unknown_model_is_not_found() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let request = GenerateRequest {
        model: "nobody".into(),
        ..prompt("Say hello.")
    };
    for status in check(&adapter, request, Code::NotFound, "MODEL_NOT_FOUND").await {
        let resource = status.get_details_resource_info().expect("ResourceInfo");
        assert_eq!(resource.resource_name, "nobody");
        assert!(!status.message().contains("tiny"), "{status:?}");
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_context_that_is_too_long_is_an_invalid_argument() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let reason = "CONTEXT_LENGTH_EXCEEDED";
    let request = prompt(&"word ".repeat(2100));
    for status in check(&adapter, request, Code::InvalidArgument, reason).await {
        assert!(!status.message().contains("word"), "{status:?}");
    }
    let request = completion(&"word ".repeat(2100));
    check(&adapter, request, Code::InvalidArgument, reason).await;
}

#[tokio::test]
#[ignore = "needs a vLLM that asks for a key: set ADAPTER_TEST_VLLM and OPENAI_API_KEY"]
async fn a_wrong_key_of_the_operator_is_not_the_callers_fault() {
    let vllm = vllm::chat().await;
    // A vLLM without a key takes any.
    vllm::given("OPENAI_API_KEY");
    let adapter = Adapter::with(vllm.url(), &[("OPENAI_API_KEY", "not-the-key")]).await;
    for status in check(&adapter, prompt("Hi"), Code::Internal, "UPSTREAM_AUTH").await {
        assert!(!format!("{status:?}").contains("not-the-key"));
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_form_that_vllm_cannot_compile_is_an_invalid_argument() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let regex = structured_output::Constraint::Regex("[".into());
    let schema = structured_output::Constraint::JsonSchema(r#"{"type":"nonsense"}"#.into());
    for constraint in [regex, schema] {
        let request = constrained("Say hello.", constraint);
        for status in check(&adapter, request, Code::InvalidArgument, "INVALID_REQUEST").await {
            assert_eq!(fields(&status), ["structured_output"]);
        }
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn a_value_out_of_range_is_an_invalid_argument_with_its_path() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let request = GenerateRequest {
        temperature: Some(3.0),
        ..prompt("Say hello.")
    };
    for status in check(&adapter, request, Code::InvalidArgument, "INVALID_REQUEST").await {
        assert_eq!(fields(&status), ["temperature"]);
    }
}

#[tokio::test]
#[ignore = "needs a vLLM: set ADAPTER_TEST_VLLM"]
async fn no_input_and_two_inputs_are_invalid_arguments_that_name_the_fields() {
    let vllm = vllm::chat().await;
    let adapter = Adapter::before(vllm.url()).await;
    let none = GenerateRequest {
        model: "tiny".into(),
        ..GenerateRequest::default()
    };
    let two = GenerateRequest {
        messages: vec![ChatMessage::default()],
        ..prompt("Say hello.")
    };
    let foreign = GenerateRequest {
        reasoning_effort: "low".into(),
        completion: Some(CompletionInput {
            text: "1 2 3".into(),
            ..CompletionInput::default()
        }),
        ..prompt("")
    };
    let inputs: &[&str] = &["prompt", "messages", "completion"];
    let table = [
        (none, inputs),
        (two, &["prompt", "messages"]),
        (foreign, &["reasoning_effort"]),
    ];
    for (request, names) in table {
        for status in check(&adapter, request, Code::InvalidArgument, "INVALID_REQUEST").await {
            let named = fields(&status);
            for name in names {
                assert!(named.iter().any(|field| field == name), "{name}: {named:?}");
            }
        }
    }
}
