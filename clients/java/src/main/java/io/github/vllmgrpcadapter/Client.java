package io.github.vllmgrpcadapter;

import io.github.vllmgrpcadapter.v1.*;
import io.grpc.*;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** Calls GenerationService, and throws {@link AdapterError}. Threads may share it.
 * The other services have stubs that take its {@code channel}; {@link AdapterError} takes what they throw. */
public final class Client implements AutoCloseable {
  /** Tries again what is UNAVAILABLE, as long as no answer has begun. */
  public static final Map<String, ?> SERVICE_CONFIG = Map.of(
      "methodConfig", List.of(Map.of("name", List.of(Map.of()), "retryPolicy", Map.of(
          "maxAttempts", 3.0, "initialBackoff", "0.5s", "maxBackoff", "5s", "backoffMultiplier", 2.0,
          "retryableStatusCodes", List.of("UNAVAILABLE")))),
      "retryThrottling", Map.of("maxTokens", 10.0, "tokenRatio", 0.1));

  /** The adapter's own limit for a response. */
  public static final int MAX_RECEIVE_BYTES = 32 * 1024 * 1024;

  /** The connection. */
  public final ManagedChannel channel;
  private final GenerationServiceGrpc.GenerationServiceBlockingStub stub;

  private Client(ManagedChannel channel) {
    this.channel = channel;
    this.stub = GenerationServiceGrpc.newBlockingStub(channel);
  }

  /** A client of the adapter at an address, as {@code localhost:50051}, in plaintext. */
  public static Client connect(String address) {
    return connect(address, InsecureChannelCredentials.create(), "", builder -> {});
  }

  /**
   * A client of the adapter at an address, as {@code localhost:50051}. It connects at the first call.
   *
   * @param tls as {@code TlsChannelCredentials.create()}
   * @param key a bearer key, sent in each call; IllegalArgumentException without TLS. Empty: none
   * @param further sets further options of the channel, as the largest response; they prevail
   */
  public static Client connect(
      String address, ChannelCredentials tls, String key, Consumer<ManagedChannelBuilder<?>> further) {
    if (!key.isEmpty() && tls instanceof InsecureChannelCredentials) {
      throw new IllegalArgumentException("key is sent over TLS alone: tls must be as TlsChannelCredentials.create().");
    }
    Metadata headers = new Metadata();
    if (!key.isEmpty()) {
      headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + key);
    }
    ManagedChannelBuilder<?> builder = Grpc.newChannelBuilder(address, tls)
        .defaultServiceConfig(SERVICE_CONFIG)
        .maxInboundMessageSize(MAX_RECEIVE_BYTES)
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(true)
        .intercept(MetadataUtils.newAttachHeadersInterceptor(headers));
    further.accept(builder);
    return new Client(builder.build());
  }

  /** The whole answer, within a time. */
  public GenerateResponse generate(GenerateRequest request, Duration timeout) {
    try {
      return stub.withDeadlineAfter(timeout).generate(request);
    } catch (StatusRuntimeException error) {
      throw new AdapterError(error);
    }
  }

  /** The events of the answer, within a time. */
  public Events streamGenerate(GenerateRequest request, Duration timeout) {
    return new Events(stub.withDeadlineAfter(timeout), request);
  }

  /** Ends the connection, and the calls that run. */
  @Override
  public void close() {
    channel.shutdownNow();
  }
}
