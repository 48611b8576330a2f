import io.github.vllmgrpcadapter.AdapterError;
import io.github.vllmgrpcadapter.Client;
import io.github.vllmgrpcadapter.Fold;
import io.github.vllmgrpcadapter.v1.GenerateRequest;
import io.github.vllmgrpcadapter.v1.StreamGenerateResponse;
import java.time.Duration;
import java.util.ArrayList;

/** What a failed call says: which field is wrong, how long to wait, what came before, and that a deadline has passed. */
class Errors {
  static GenerateRequest.Builder ask(String prompt) {
    return GenerateRequest.newBuilder().setPrompt(prompt);
  }

  public static void main(String[] args) {
    try (var client = Client.connect(args[0])) {
      try {
        client.generate(ask("Say hello.").setMaxTokens(0).build(), Duration.ofSeconds(30));
      } catch (AdapterError error) {
        System.out.println("wrong field: " + error.code + " " + error.reason + " " + error.field);
      }

      // The connection tries twice more, after as long as the adapter says.
      try {
        client.generate(ask("Fail with 503.").build(), Duration.ofSeconds(30));
      } catch (AdapterError error) {
        System.out.println("overloaded: " + error.code + " " + error.reason + " " + error.retryDelay.toMillis() / 1000.0);
      }

      var events = new ArrayList<StreamGenerateResponse>();
      try (var stream = client.streamGenerate(ask("Fail with abort.").build(), Duration.ofSeconds(30))) {
        stream.forEach(events::add);
      } catch (AdapterError error) {
        var content = Fold.fold(events).getChoices(0).getMessage().getContent();
        System.out.println("cut off: " + error.code + " " + error.reason + " after " + content);
      }

      try {
        client.generate(ask("Wait.").build(), Duration.ofMillis(500));
      } catch (AdapterError error) {
        System.out.println("too late: " + error.code);
      }
    }
  }
}
