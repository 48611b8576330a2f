// What a failed call says: which field is wrong, how long to wait, what came before, and that a deadline has passed.

#include <vllm_adapter/client.h>

#include <cstdio>

using namespace std::chrono_literals;
namespace v1 = vllm_adapter::v1;

// As the specification has it; gRPC for C++ has no names.
const char* name(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "INVALID_ARGUMENT";
    case grpc::StatusCode::UNAVAILABLE:
      return "UNAVAILABLE";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "DEADLINE_EXCEEDED";
    default:
      return "another";
  }
}

v1::GenerateRequest ask(const char* prompt) {
  v1::GenerateRequest request;
  request.set_prompt(prompt);
  return request;
}

int main(int, char** argv) {
  auto client = vllm_adapter::connect(argv[1]);
  try {
    auto request = ask("Say hello.");
    request.set_max_tokens(0);
    client.generate(request, 30s);
  } catch (const vllm_adapter::AdapterError& error) {
    std::printf("wrong field: %s %s %s\n", name(error.code), error.reason.c_str(), error.field.c_str());
  }

  // The connection tries twice more, after as long as the adapter says.
  try {
    client.generate(ask("Fail with 503."), 30s);
  } catch (const vllm_adapter::AdapterError& error) {
    const double delay = error.retry_delay.value_or(0ms).count() / 1000.0;
    std::printf("overloaded: %s %s %.1f\n", name(error.code), error.reason.c_str(), delay);
  }

  std::vector<v1::StreamGenerateResponse> events;
  try {
    auto stream = client.stream_generate(ask("Fail with abort."), 30s);
    for (v1::StreamGenerateResponse event; stream->next(&event);) events.push_back(event);
  } catch (const vllm_adapter::AdapterError& error) {
    const std::string content = vllm_adapter::fold(events).choices(0).message().content();
    std::printf("cut off: %s %s after %s\n", name(error.code), error.reason.c_str(), content.c_str());
  }

  try {
    client.generate(ask("Wait."), 500ms);
  } catch (const vllm_adapter::AdapterError& error) {
    std::printf("too late: %s\n", name(error.code));
  }
}
