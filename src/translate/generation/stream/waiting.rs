//! Responses that wait to be taken.

use std::collections::VecDeque;

use crate::proto::{self, StreamGenerateResponse, stream_generate_response::Event};

/// The responses that a caller has not taken yet, in their order.
///
/// A delta is merged with the last response where that is of its kind and choice.
#[derive(Debug, Default)]
pub(super) struct Waiting(VecDeque<StreamGenerateResponse>);

impl Waiting {
    pub(super) fn push(&mut self, event: Event) {
        self.0.push_back(StreamGenerateResponse {
            event: Some(event),
            ..Default::default()
        });
    }

    pub(super) fn push_content(&mut self, choice_index: i32, text: &str) {
        match self.last_event() {
            Some(Event::Content(last)) if last.choice_index == choice_index => {
                last.text.push_str(text);
            }
            _ => self.push(Event::Content(proto::ContentDelta {
                choice_index,
                text: text.to_owned(),
            })),
        }
    }

    pub(super) fn push_reasoning(&mut self, choice_index: i32, text: &str) {
        match self.last_event() {
            Some(Event::Reasoning(last)) if last.choice_index == choice_index => {
                last.text.push_str(text);
            }
            _ => self.push(Event::Reasoning(proto::ReasoningDelta {
                choice_index,
                text: text.to_owned(),
            })),
        }
    }

    pub(super) fn push_tool_call(&mut self, delta: proto::ToolCallDelta) {
        match self.last_event() {
            Some(Event::ToolCall(last))
                if last.choice_index == delta.choice_index
                    && last.tool_index == delta.tool_index
                    && delta.name.is_empty() =>
            {
                last.arguments.push_str(&delta.arguments);
            }
            _ => self.push(Event::ToolCall(delta)),
        }
    }

    pub(super) fn pop(&mut self) -> Option<StreamGenerateResponse> {
        self.0.pop_front()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut StreamGenerateResponse> {
        self.0.back_mut()
    }

    fn last_event(&mut self) -> Option<&mut Event> {
        self.last_mut()?.event.as_mut()
    }
}
