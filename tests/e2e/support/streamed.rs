//! A streamed answer, held to the order that the contract gives its events.

use tonic::{Status, Streaming, transport::Channel};
use vllm_grpc_adapter::{
    Fold,
    proto::{
        GenerateRequest, GenerateResponse, StreamGenerateResponse,
        generation_service_client::GenerationServiceClient, stream_generate_response::Event,
    },
};

/// A stream that ended with OK.
pub(crate) struct Streamed {
    /// What the events fold to.
    pub(crate) answer: GenerateResponse,
    pub(crate) events: Vec<Event>,
}

impl Streamed {
    pub(crate) async fn read(
        client: &mut GenerationServiceClient<Channel>,
        request: GenerateRequest,
    ) -> Result<Self, Status> {
        let mut responses = client.stream_generate(request).await?.into_inner();
        let mut fold = Fold::new();
        let mut events = Vec::new();
        while let Some(response) = responses.message().await? {
            events.extend(response.event.clone());
            fold.push(response);
        }
        check_order(&events);
        let answer = fold.finish_response();
        Ok(Self { answer, events })
    }

    pub(crate) fn content_events(&self) -> usize {
        let is_content = |event: &&Event| matches!(event, Event::Content(_));
        self.events.iter().filter(is_content).count()
    }
}

/// `started` first; one `finished` a choice, with nothing of it behind; `usage` last.
fn check_order(events: &[Event]) {
    let mut finished = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let choice = match event {
            Event::Started(_) => {
                assert_eq!(place, 0, "`started` is the first event");
                continue;
            }
            Event::Usage(_) => {
                assert_eq!(place, events.len() - 1, "`usage` is the last event");
                continue;
            }
            Event::Content(delta) => delta.choice_index,
            Event::Reasoning(delta) => delta.choice_index,
            Event::Refusal(delta) => delta.choice_index,
            Event::ToolCall(delta) => delta.choice_index,
            Event::Tokens(delta) => delta.choice_index,
            Event::Finished(end) => end.choice_index,
        };
        assert!(place > 0, "`started` is the first event");
        assert!(!finished.contains(&choice), "an event after `finished`");
        if matches!(event, Event::Finished(_)) {
            finished.push(choice);
        }
    }
    assert!(!finished.is_empty(), "no choice finished");
}

/// Reads until so many `content` events have come.
pub(crate) async fn read_contents(
    responses: &mut Streaming<StreamGenerateResponse>,
    mut count: usize,
) {
    while count > 0 {
        let response = responses.message().await.unwrap();
        if let Some(Event::Content(_)) = response.expect("the stream goes on").event {
            count -= 1;
        }
    }
}
