// Lets the model call a tool, and answers with the tool's result.

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <vllm_adapter/client.h>

#include <iostream>

using namespace std::chrono_literals;
namespace v1 = vllm_adapter::v1;

const char* const kParameters = R"({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})";

int main(int, char** argv) {
  auto client = vllm_adapter::connect(argv[1]);
  v1::GenerateRequest request;
  v1::Tool* tool = request.add_tools();
  tool->set_name("get_weather");
  tool->set_description("The weather in a city.");
  tool->set_parameters_json(kParameters);
  v1::ChatMessage* turn = request.add_messages();
  turn->set_role(v1::ROLE_USER);
  turn->set_content("Weather in Paris?");

  const auto answer = vllm_adapter::fold(*client.stream_generate(request, 30s));
  const auto& choice = answer.choices(0);
  std::cout << "finish reason: " << v1::FinishReason_Name(choice.finish_reason()) << "\n";
  *request.add_messages() = choice.message();
  for (const auto& call : choice.message().tool_calls()) {
    google::protobuf::Struct arguments;
    if (!google::protobuf::util::JsonStringToMessage(call.arguments(), &arguments).ok()) return 1;
    const std::string city = arguments.fields().at("city").string_value();
    std::cout << call.name() << ": " << city << "\n";
    v1::ChatMessage* result = request.add_messages();
    result->set_role(v1::ROLE_TOOL);
    result->set_tool_call_id(call.id());
    result->set_content("Sunny in " + city + ".");
  }
  std::cout << client.generate(request, 30s).choices(0).message().content() << "\n";
}
