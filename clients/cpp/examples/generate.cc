// Asks once, and prints the whole answer.

#include <vllm_adapter/client.h>

#include <iostream>

using namespace std::chrono_literals;
namespace v1 = vllm_adapter::v1;

int main(int, char** argv) {
  auto client = vllm_adapter::connect(argv[1]);
  v1::GenerateRequest request;
  request.set_prompt("Say hello.");
  request.set_max_tokens(100);
  const auto response = client.generate(request, 30s);
  const auto& choice = response.choices(0);
  std::cout << choice.message().content() << "\n";
  std::cout << "finish reason: " << v1::FinishReason_Name(choice.finish_reason()) << "\n";
  std::cout << "tokens: " << response.usage().prompt_tokens() << " + " << response.usage().completion_tokens() << "\n";
}
