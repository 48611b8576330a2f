import com.google.gson.JsonParser;
import io.github.vllmgrpcadapter.Client;
import io.github.vllmgrpcadapter.v1.FinishReason;
import io.github.vllmgrpcadapter.v1.GenerateRequest;
import java.time.Duration;

/** Asks for JSON that fits a schema. */
class StructuredOutput {
  static final String SCHEMA = """
      {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}""";

  public static void main(String[] args) {
    try (var client = Client.connect(args[0])) {
      var request = GenerateRequest.newBuilder().setPrompt("A city, as JSON.");
      request.getStructuredOutputBuilder().setJsonSchema(SCHEMA);
      var choice = client.generate(request.build(), Duration.ofSeconds(30)).getChoices(0);
      // Only a whole answer holds whole JSON.
      if (choice.getFinishReason() != FinishReason.FINISH_REASON_STOP) {
        throw new IllegalStateException("cut off: " + choice.getFinishReasonRaw());
      }
      var answer = JsonParser.parseString(choice.getMessage().getContent()).getAsJsonObject();
      System.out.println("city: " + answer.get("city").getAsString());
    }
  }
}
