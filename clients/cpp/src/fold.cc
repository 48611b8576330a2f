#include "vllm_adapter/client.h"

namespace vllm_adapter {
namespace {

void push(const v1::ToolCallDelta& delta, v1::ChatMessage* message) {
  // Calls appear in the order of their index, so that a new one is the next.
  if (delta.tool_index() >= message->tool_calls_size()) {
    v1::ToolCall* call = message->add_tool_calls();
    call->set_id(delta.id());
    call->set_name(delta.name());
  }
  message->mutable_tool_calls(message->tool_calls_size() - 1)->mutable_arguments()->append(delta.arguments());
}

void finish(const v1::ChoiceFinished& finished, v1::Choice* choice) {
  choice->set_finish_reason(finished.finish_reason());
  choice->set_finish_reason_raw(finished.finish_reason_raw());
  choice->set_extensions_json(finished.extensions_json());
  if (finished.has_prompt_index()) choice->set_prompt_index(finished.prompt_index());
  if (finished.has_stop_string()) choice->set_stop_string(finished.stop_string());
  if (finished.has_stop_token_id()) choice->set_stop_token_id(finished.stop_token_id());
}

void start(const v1::StreamStarted& started, v1::GenerateResponse* response) {
  response->set_id(started.id());
  response->set_model(started.model());
  response->set_prompt_text(started.prompt_text());
  *response->mutable_prompt_token_ids() = started.prompt_token_ids();
  if (started.has_create_time()) *response->mutable_create_time() = started.create_time();
}

void push(const v1::StreamGenerateResponse& event, v1::GenerateResponse* response, std::map<int, v1::Choice>* choices) {
  const auto choice = [&](const auto& delta) { return &(*choices)[delta.choice_index()]; };
  const auto message = [&](const auto& delta) { return choice(delta)->mutable_message(); };
  if (!event.system_fingerprint().empty()) response->set_system_fingerprint(event.system_fingerprint());
  if (!event.extensions_json().empty()) response->set_extensions_json(event.extensions_json());
  if (event.has_started()) start(event.started(), response);
  if (event.has_usage()) *response->mutable_usage() = event.usage();
  if (event.has_content()) message(event.content())->mutable_content()->append(event.content().text());
  if (event.has_reasoning()) message(event.reasoning())->mutable_reasoning()->append(event.reasoning().text());
  if (event.has_refusal()) choice(event.refusal())->mutable_refusal()->append(event.refusal().text());
  if (event.has_tool_call()) push(event.tool_call(), message(event.tool_call()));
  if (event.has_tokens()) {
    choice(event.tokens())->mutable_logprobs()->MergeFrom(event.tokens().logprobs());
    choice(event.tokens())->mutable_token_ids()->MergeFrom(event.tokens().token_ids());
    choice(event.tokens())->mutable_prompt_token_ids()->MergeFrom(event.tokens().prompt_token_ids());
  }
  if (event.has_finished()) finish(event.finished(), choice(event.finished()));
}

}  // namespace

v1::GenerateResponse fold(const std::vector<v1::StreamGenerateResponse>& events) {
  v1::GenerateResponse response;
  std::map<int, v1::Choice> choices;
  for (const auto& event : events) push(event, &response, &choices);
  for (auto& [index, choice] : choices) {
    choice.set_index(index);
    choice.mutable_message()->set_role(v1::ROLE_ASSISTANT);
    *response.add_choices() = std::move(choice);
  }
  return response;
}

v1::GenerateResponse fold(Events& events) {
  std::vector<v1::StreamGenerateResponse> all;
  for (v1::StreamGenerateResponse event; events.next(&event);) all.push_back(event);
  return fold(all);
}

}  // namespace vllm_adapter
