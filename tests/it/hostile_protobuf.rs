//! Messages that are legal protobuf and cost more than they are worth.

use prost::Message;
use tonic::{Code, Status, transport::Channel};
use tonic_prost::ProstCodec;
use vllm_grpc_adapter::proto::{
    ChatMessage, ContentPart, Conversation, EmbedRequest, GenerateRequest, Role, TokenIds, Tool,
    ToolCall,
};

use crate::support::{
    adapter::Adapter,
    bounds::{checks_bounds, scaled},
    outcome::{check, outcome},
    process::Process,
    reply::Reply,
    requests::prompt,
    soon,
    vllm::Vllm,
    wire,
};

const GENERATE: &str = "/vllm_adapter.v1.GenerationService/Generate";
const EMBED: &str = "/vllm_adapter.v1.EmbeddingService/Embed";

/// Elements of a hostile message.
fn n_elements() -> usize {
    scaled(1_000_000, 50_000)
}

/// Any bytes as a message.
#[derive(Clone, Debug, Default)]
struct Bytes(Vec<u8>);

impl Message for Bytes {
    fn encode_raw(&self, buffer: &mut impl bytes::BufMut) {
        buffer.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: prost::encoding::WireType,
        buffer: &mut impl bytes::Buf,
        context: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        prost::encoding::skip_field(wire_type, tag, buffer, context)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

async fn call(channel: Channel, path: &'static str, message: Vec<u8>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = ProstCodec::<Bytes, Bytes>::default();
    let request = tonic::Request::new(Bytes(message));
    let answered = client.unary(request, path.parse().unwrap(), codec).await;
    answered.map(drop)
}

fn messages(messages: Vec<ChatMessage>) -> Vec<u8> {
    let request = GenerateRequest {
        messages,
        ..GenerateRequest::default()
    };
    request.encode_to_vec()
}

/// Row E8.
#[tokio::test]
async fn a_million_elements_cost_no_more_than_twenty_times_their_bytes() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let turn = ChatMessage {
        parts: vec![ContentPart::default(); n_elements()],
        ..ChatMessage::default()
    };
    let calls = ChatMessage {
        tool_calls: vec![ToolCall::default(); n_elements()],
        ..ChatMessage::default()
    };
    let many = |change: fn(&mut GenerateRequest)| {
        let mut request = prompt("x");
        change(&mut request);
        request.encode_to_vec()
    };
    let embed = |change: fn(&mut EmbedRequest)| {
        let mut request = EmbedRequest::default();
        change(&mut request);
        request.encode_to_vec()
    };
    let malformed = Some("REQUEST_MALFORMED");
    let rows = [
        (
            "messages",
            GENERATE,
            messages(vec![ChatMessage::default(); n_elements()]),
            malformed,
        ),
        ("parts", GENERATE, messages(vec![turn]), malformed),
        ("tool calls", GENERATE, messages(vec![calls]), malformed),
        (
            "tools",
            GENERATE,
            many(|it| it.tools = vec![Tool::default(); n_elements()]),
            malformed,
        ),
        (
            "stop",
            GENERATE,
            many(|it| it.stop = vec![String::new(); n_elements()]),
            Some("INVALID_REQUEST"),
        ),
        // vLLM takes as many, so that they are passed on.
        (
            "logit_bias",
            GENERATE,
            many(|it| it.logit_bias = (0..n_elements() as i32).map(|n| (n, 1.0)).collect()),
            None,
        ),
        (
            "token inputs",
            EMBED,
            embed(|it| it.token_inputs = vec![TokenIds::default(); n_elements()]),
            malformed,
        ),
        (
            "conversations",
            EMBED,
            embed(|it| it.conversations = vec![Conversation::default(); n_elements()]),
            malformed,
        ),
        (
            "texts",
            EMBED,
            embed(|it| it.texts = vec![String::new(); n_elements()]),
            // The scripted answer has no vectors.
            Some("UPSTREAM_PROTOCOL"),
        ),
    ];
    for (row, path, message, reason) in rows {
        let process = Process::before(&vllm.base_url()).start().await;
        let channel = process.channel().await;
        let before = process.peak_bytes();
        let n_bytes = message.len() as u64;
        let told = soon(row, call(channel, path, message)).await;
        let grown = process.peak_bytes().saturating_sub(before);
        eprintln!(
            "{row}: {grown} bytes for {n_bytes}, {} times",
            grown / n_bytes
        );
        match (told, reason) {
            (Ok(()), None) => {}
            (Err(status), Some(reason)) => assert_eq!(outcome(&status).1, reason, "{row}"),
            (told, _) => panic!("{row}: {told:?}"),
        }
        if checks_bounds() {
            assert!(grown <= 20 * n_bytes, "{row}: {grown} bytes for {n_bytes}");
        }
    }
}

/// Row E8: groups within groups, which nothing in the contract is.
#[tokio::test]
async fn a_message_that_is_nested_too_deep_is_refused() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    // The marks of a group of field 1000, 10,000 of them within each other.
    let nested = [[0xc3, 0x3e].repeat(10_000), [0xc4, 0x3e].repeat(10_000)].concat();
    let shallow = [[0xc3, 0x3e].repeat(50), [0xc4, 0x3e].repeat(50)].concat();
    for (row, groups, is_taken) in [("deep", nested, false), ("shallow", shallow, true)] {
        let message = [prompt("x").encode_to_vec(), groups].concat();
        match call(adapter.channel(), GENERATE, message).await {
            Ok(()) => assert!(is_taken, "{row}"),
            Err(status) => {
                assert!(!is_taken, "{row}: {status:?}");
                check(&status, Code::InvalidArgument, "REQUEST_MALFORMED", row);
            }
        }
    }
    assert_eq!(vllm.n_requests(), 1);
}

/// Row E8.
#[tokio::test]
async fn a_chat_of_short_turns_is_no_attack() {
    let vllm = Vllm::replying(Reply::json(200, wire::answer("a"))).await;
    let adapter = Adapter::before(vllm.base_url()).start().await;
    let turn = |content: &str| ChatMessage {
        role: Role::User.into(),
        content: content.to_owned(),
        ..ChatMessage::default()
    };
    let short = GenerateRequest {
        messages: vec![turn("a"); 4096],
        ..GenerateRequest::default()
    };
    adapter.client().generate(short).await.unwrap();
}
