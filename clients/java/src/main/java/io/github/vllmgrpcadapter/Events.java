package io.github.vllmgrpcadapter;

import io.github.vllmgrpcadapter.v1.GenerateRequest;
import io.github.vllmgrpcadapter.v1.GenerationServiceGrpc.GenerationServiceBlockingStub;
import io.github.vllmgrpcadapter.v1.StreamGenerateResponse;
import io.grpc.Context;
import io.grpc.StatusRuntimeException;
import java.util.Iterator;

/** The events of a stream, to be read once. Reading throws {@link AdapterError}. Closing ends the call. */
public final class Events
    implements Iterable<StreamGenerateResponse>, Iterator<StreamGenerateResponse>, AutoCloseable {
  private final Context.CancellableContext context = Context.current().withCancellation();
  private Iterator<StreamGenerateResponse> events;

  Events(GenerationServiceBlockingStub stub, GenerateRequest request) {
    context.run(() -> events = stub.streamGenerate(request));
  }

  @Override
  public Iterator<StreamGenerateResponse> iterator() {
    return this;
  }

  @Override
  public boolean hasNext() {
    try {
      return events.hasNext();
    } catch (StatusRuntimeException error) {
      throw new AdapterError(error);
    }
  }

  @Override
  public StreamGenerateResponse next() {
    hasNext();
    return events.next();
  }

  @Override
  public void close() {
    context.cancel(null);
  }
}
