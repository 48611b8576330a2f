package main

// The gRPC project's interop cases that apply, on the services of the adapter.
//
// https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/vllm-grpc-adapter/vllm-grpc-adapter/gen/go/vllm_adapter/v1"
)

const (
	largeRequest = 271828
	largeAnswer  = 314159
	hello        = "Hello from the upstream."
	// More than the calls that the adapter takes at once on a connection, so that some wait here.
	concurrentCalls = 300
	soakCalls       = 200
	soakChannels    = 20
)

func emptyUnary(ctx context.Context, b *bench) error {
	_, err := b.client.Generate(ctx, &pb.GenerateRequest{})
	b.note("%v", err)
	return endsWith(err, codes.InvalidArgument)
}

func largeUnary(ctx context.Context, b *bench) error {
	return askLarge(ctx, b.client)
}

func askLarge(ctx context.Context, client pb.GenerationServiceClient, options ...grpc.CallOption) error {
	answer, err := client.Generate(ctx, prompted("large", strings.Repeat("p", largeRequest)), options...)
	if err != nil {
		return err
	}
	return all(
		equal("the prompt's size upstream", answer.GetUsage().GetPromptTokens(), largeRequest),
		hasText(answer, strings.Repeat("x", largeAnswer)),
	)
}

func serverStreaming(ctx context.Context, b *bench) error {
	ctx, id := identified(ctx)
	stream, err := b.client.StreamGenerate(ctx, prompted("sizes", "Go on."))
	if err != nil {
		return err
	}
	var texts []string
	for len(texts) < 4 {
		event, err := stream.Recv()
		if err != nil {
			return err
		}
		if text := event.GetContent().GetText(); text != "" {
			texts = append(texts, text)
			if err := b.upstream.next(id); err != nil {
				return err
			}
		}
	}
	rest, err := folded(stream)
	want := []string{
		strings.Repeat("a", 31415), strings.Repeat("b", 9), strings.Repeat("c", 2653), strings.Repeat("d", 58979),
	}
	b.note("events of %d, %d, %d and %d bytes", len(texts[0]), len(texts[1]), len(texts[2]), len(texts[3]))
	return all(err, equal("the rest", rest, ""), holds("the events are as they were sent", slices.Equal(texts, want)))
}

func customMetadata(ctx context.Context, b *bench) error {
	const initial, trailing = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
	ctx, id := identified(ctx)
	ctx = metadata.AppendToOutgoingContext(ctx, initial, "test_initial_metadata_value", trailing, "\xab\xab\xab")
	var header, trailer metadata.MD
	_, err := b.client.Generate(ctx, prompted("hello", "Hello!"), grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		return err
	}
	seen, err := b.upstream.begun(id)
	b.note("headers %v, trailers %v; upstream %v", header, trailer, seen.Headers)
	return all(
		err,
		equal("x-request-id", strings.Join(header.Get("x-request-id"), ","), id),
		holds("the caller's own metadata does not come back",
			len(header.Get(initial))+len(header.Get(trailing))+len(trailer.Get(initial))+len(trailer.Get(trailing)) == 0),
		holds("it does not go upstream", !seen.hasHeader(initial) && !seen.hasHeader(trailing)),
	)
}

func statusCodeAndMessage(ctx context.Context, b *bench) error {
	const message = "test status message"
	return refusedWith(ctx, b, message, message)
}

// specialStatusMessage: a message of the adapter is one line, so that white space is folded and the rest is intact.
func specialStatusMessage(ctx context.Context, b *bench) error {
	const message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
	return refusedWith(ctx, b, message, "test with whitespace and Unicode BMP ☺ and non-BMP 😈")
}

// refusedWith lets the upstream refuse with a message, unary and streamed.
func refusedWith(ctx context.Context, b *bench, message, want string) error {
	_, unary := b.client.Generate(ctx, prompted("refuse", message))
	stream, err := b.client.StreamGenerate(ctx, prompted("refuse", message))
	if err != nil {
		return err
	}
	_, streamed := folded(stream)
	b.note("%v", streamed)
	return all(
		endsWith(unary, codes.InvalidArgument),
		equal("the unary message", status.Convert(unary).Message(), want),
		endsWith(streamed, codes.InvalidArgument),
		equal("the streamed message", status.Convert(streamed).Message(), want),
	)
}

func unimplementedMethod(ctx context.Context, b *bench) error {
	return invokeUnimplemented(ctx, b, "/vllm_adapter.v1.GenerationService/UnimplementedCall")
}

func unimplementedService(ctx context.Context, b *bench) error {
	return invokeUnimplemented(ctx, b, "/vllm_adapter.v1.UnimplementedService/UnimplementedCall")
}

func invokeUnimplemented(ctx context.Context, b *bench, method string) error {
	err := b.conn.Invoke(ctx, method, &pb.GenerateRequest{}, &pb.GenerateResponse{})
	b.note("%v", err)
	return endsWith(err, codes.Unimplemented)
}

func cancelAfterBegin(ctx context.Context, b *bench) error {
	ctx, id := identified(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := b.client.StreamGenerate(ctx, prompted("hang", "Wait."))
	if err != nil {
		return err
	}
	if _, err := b.upstream.begun(id); err != nil {
		return err
	}
	cancel()
	_, err = folded(stream)
	return all(endsWith(err, codes.Canceled), b.upstream.abandoned(id))
}

func cancelAfterFirstResponse(ctx context.Context, b *bench) error {
	ctx, id := identified(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := b.client.StreamGenerate(ctx, prompted("endless", "Go on."))
	if err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	cancel()
	_, err = folded(stream)
	return all(endsWith(err, codes.Canceled), b.upstream.abandoned(id))
}

func timeoutOnSleepingServer(ctx context.Context, b *bench) error {
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, tooShort := b.client.Generate(short, prompted("hang", "Wait."))

	// Long enough that the call gets upstream, which the end of the deadline must free.
	ctx, id := identified(ctx)
	ctx, cancel = context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := b.client.Generate(ctx, prompted("hang", "Wait."))
	return all(
		endsWith(tooShort, codes.DeadlineExceeded),
		endsWith(err, codes.DeadlineExceeded),
		b.upstream.abandoned(id),
	)
}

func concurrentLargeUnary(ctx context.Context, b *bench) error {
	var calls sync.WaitGroup
	failures := make(chan error, concurrentCalls)
	for range concurrentCalls {
		calls.Go(func() { failures <- askLarge(ctx, b.client) })
	}
	calls.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			return err
		}
	}
	b.note("%d calls on one channel", concurrentCalls)
	return nil
}

func rpcSoak(ctx context.Context, b *bench) error {
	for index := range soakCalls {
		if err := askLarge(ctx, b.client); err != nil {
			return fmt.Errorf("call %d: %w", index, err)
		}
	}
	b.note("%d calls, one after another, on one channel", soakCalls)
	return nil
}

func channelSoak(ctx context.Context, b *bench) error {
	for index := range soakChannels {
		conn := b.dial()
		err := askLarge(ctx, pb.NewGenerationServiceClient(conn))
		conn.Close()
		if err != nil {
			return fmt.Errorf("channel %d: %w", index, err)
		}
	}
	b.note("%d channels, one after another", soakChannels)
	return nil
}
