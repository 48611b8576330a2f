// Prints an answer while it is made, and then what is known of the whole.

#include <vllm_adapter/client.h>

#include <iostream>

using namespace std::chrono_literals;
namespace v1 = vllm_adapter::v1;

int main(int, char** argv) {
  auto client = vllm_adapter::connect(argv[1]);
  v1::GenerateRequest request;
  request.set_prompt("Think about 2+2.");
  request.set_max_tokens(100);
  std::vector<v1::StreamGenerateResponse> events;
  auto stream = client.stream_generate(request, 30s);
  for (v1::StreamGenerateResponse event; stream->next(&event);) {
    std::cout << event.content().text() << std::flush;
    events.push_back(event);
  }
  std::cout << "\n";
  const auto response = vllm_adapter::fold(events);
  const auto& choice = response.choices(0);
  std::cout << "reasoning: " << choice.message().reasoning() << "\n";
  std::cout << "finish reason: " << v1::FinishReason_Name(choice.finish_reason()) << "\n";
  std::cout << "tokens: " << response.usage().prompt_tokens() << " + " << response.usage().completion_tokens() << "\n";
}
