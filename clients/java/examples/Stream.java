import io.github.vllmgrpcadapter.Client;
import io.github.vllmgrpcadapter.Fold;
import io.github.vllmgrpcadapter.v1.GenerateRequest;
import io.github.vllmgrpcadapter.v1.StreamGenerateResponse;
import java.time.Duration;
import java.util.ArrayList;

/** Prints an answer while it is made, and then what is known of the whole. */
class Stream {
  public static void main(String[] args) {
    try (var client = Client.connect(args[0])) {
      var request = GenerateRequest.newBuilder().setPrompt("Think about 2+2.").setMaxTokens(100).build();
      var events = new ArrayList<StreamGenerateResponse>();
      try (var stream = client.streamGenerate(request, Duration.ofSeconds(30))) {
        for (var event : stream) {
          events.add(event);
          System.out.print(event.getContent().getText());
        }
      }
      System.out.println();
      var response = Fold.fold(events);
      var choice = response.getChoices(0);
      System.out.println("reasoning: " + choice.getMessage().getReasoning());
      System.out.println("finish reason: " + choice.getFinishReason());
      var usage = response.getUsage();
      System.out.println("tokens: " + usage.getPromptTokens() + " + " + usage.getCompletionTokens());
    }
  }
}
