import io.github.vllmgrpcadapter.AdapterError;
import io.github.vllmgrpcadapter.Client;
import io.github.vllmgrpcadapter.v1.GenerateRequest;
import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.time.Duration;

/** Asks over TLS with a key; and what is said of a certificate that is not trusted. */
class Secure {
  static final GenerateRequest REQUEST = GenerateRequest.newBuilder().setPrompt("Say hello.").build();

  static String ask(String address, ChannelCredentials tls, String key) {
    try (var client = Client.connect(address, tls, key, builder -> {})) {
      return client.generate(REQUEST, Duration.ofSeconds(30)).getChoices(0).getMessage().getContent();
    }
  }

  public static void main(String[] args) throws IOException {
    var trusting = TlsChannelCredentials.newBuilder().trustManager(new File(args[1])).build();
    System.out.println(ask(args[0], trusting, args[2]));
    try {
      // Trusts what the system trusts.
      ask(args[0], TlsChannelCredentials.create(), args[2]);
    } catch (AdapterError error) {
      System.out.println("not trusted: " + error.code);
    }
  }
}
