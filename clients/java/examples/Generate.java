import io.github.vllmgrpcadapter.Client;
import io.github.vllmgrpcadapter.v1.GenerateRequest;
import java.time.Duration;

/** Asks once, and prints the whole answer. */
class Generate {
  public static void main(String[] args) {
    try (var client = Client.connect(args[0])) {
      var request = GenerateRequest.newBuilder().setPrompt("Say hello.").setMaxTokens(100).build();
      var response = client.generate(request, Duration.ofSeconds(30));
      var choice = response.getChoices(0);
      System.out.println(choice.getMessage().getContent());
      System.out.println("finish reason: " + choice.getFinishReason());
      var usage = response.getUsage();
      System.out.println("tokens: " + usage.getPromptTokens() + " + " + usage.getCompletionTokens());
    }
  }
}
