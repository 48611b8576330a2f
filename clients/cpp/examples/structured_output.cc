// Asks for JSON that fits a schema.

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <vllm_adapter/client.h>

#include <iostream>

using namespace std::chrono_literals;
namespace v1 = vllm_adapter::v1;

const char* const kSchema = R"({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})";

int main(int, char** argv) {
  auto client = vllm_adapter::connect(argv[1]);
  v1::GenerateRequest request;
  request.set_prompt("A city, as JSON.");
  request.mutable_structured_output()->set_json_schema(kSchema);
  const auto response = client.generate(request, 30s);
  const auto& choice = response.choices(0);
  // Only a whole answer holds whole JSON.
  if (choice.finish_reason() != v1::FINISH_REASON_STOP) {
    std::cerr << "cut off: " << choice.finish_reason_raw() << "\n";
    return 1;
  }
  google::protobuf::Struct answer;
  if (!google::protobuf::util::JsonStringToMessage(choice.message().content(), &answer).ok()) return 1;
  std::cout << "city: " << answer.fields().at("city").string_value() << "\n";
}
