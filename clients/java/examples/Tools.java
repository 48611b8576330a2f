import com.google.gson.JsonParser;
import io.github.vllmgrpcadapter.Client;
import io.github.vllmgrpcadapter.Fold;
import io.github.vllmgrpcadapter.v1.ChatMessage;
import io.github.vllmgrpcadapter.v1.Choice;
import io.github.vllmgrpcadapter.v1.GenerateRequest;
import io.github.vllmgrpcadapter.v1.Role;
import io.github.vllmgrpcadapter.v1.Tool;
import java.time.Duration;

/** Lets the model call a tool, and answers with the tool's result. */
class Tools {
  static final String PARAMETERS = """
      {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}""";

  public static void main(String[] args) {
    try (var client = Client.connect(args[0])) {
      var tool = Tool.newBuilder()
          .setName("get_weather").setDescription("The weather in a city.").setParametersJson(PARAMETERS);
      var request = GenerateRequest.newBuilder().addTools(tool);
      request.addMessages(ChatMessage.newBuilder().setRole(Role.ROLE_USER).setContent("Weather in Paris?"));
      Choice choice;
      try (var stream = client.streamGenerate(request.build(), Duration.ofSeconds(30))) {
        choice = Fold.fold(stream).getChoices(0);
      }
      System.out.println("finish reason: " + choice.getFinishReason());
      request.addMessages(choice.getMessage());
      for (var call : choice.getMessage().getToolCallsList()) {
        var city = JsonParser.parseString(call.getArguments()).getAsJsonObject().get("city").getAsString();
        System.out.println(call.getName() + ": " + city);
        request.addMessages(ChatMessage.newBuilder()
            .setRole(Role.ROLE_TOOL).setToolCallId(call.getId()).setContent("Sunny in " + city + "."));
      }
      var response = client.generate(request.build(), Duration.ofSeconds(30));
      System.out.println(response.getChoices(0).getMessage().getContent());
    }
  }
}
