package main

// The gRPC project's interop cases that apply, on the services of the adapter.
//
// https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

const (
	largeRequest = 271828
	hello        = "Hello! How can I help you today?"
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
	const repeat = "Repeat "
	word := strings.Repeat("p", largeRequest-len(repeat))
	answer, err := client.Generate(ctx, prompted(repeat+word), options...)
	if err != nil {
		return err
	}
	return all(
		equal("the prompt's tokens of four bytes", answer.GetUsage().GetPromptTokens(), largeRequest/4),
		hasText(answer, " "+word),
	)
}

func serverStreaming(ctx context.Context, b *bench) error {
	word := strings.Repeat("p", 31415)
	stream, err := b.client.StreamGenerate(ctx, repeated(word, proto.Int32(4)))
	if err != nil {
		return err
	}
	text, err := folded(stream)
	return all(err, equal("the text", text, strings.Repeat(" "+word, 4)))
}

// repeated asks for a word as often as there is room for, or for a number of times.
func repeated(word string, maxTokens *int32) *pb.GenerateRequest {
	request := prompted("Repeat " + word)
	request.IgnoreEos, request.MaxTokens = proto.Bool(true), maxTokens
	return request
}

func customMetadata(ctx context.Context, b *bench) error {
	const initial, trailing = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
	ctx, id := identified(ctx)
	ctx = metadata.AppendToOutgoingContext(ctx, initial, "test_initial_metadata_value", trailing, "\xab\xab\xab")
	var header, trailer metadata.MD
	_, err := b.client.Generate(ctx, prompted("Hello!"), grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		return err
	}
	b.note("headers %v, trailers %v", header, trailer)
	return all(
		equal("x-request-id", strings.Join(header.Get("x-request-id"), ","), id),
		holds("the caller's own metadata does not come back",
			len(header.Get(initial))+len(header.Get(trailing))+len(trailer.Get(initial))+len(trailer.Get(trailing)) == 0),
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
	_, unary := b.client.Generate(ctx, prompted("Fail with 400: "+message))
	stream, err := b.client.StreamGenerate(ctx, prompted("Fail with 400: "+message))
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := b.client.StreamGenerate(ctx, prompted("Wait."))
	if err != nil {
		return err
	}
	if err := b.upstream.runs(1); err != nil {
		return err
	}
	cancel()
	_, err = folded(stream)
	return all(endsWith(err, codes.Canceled), b.upstream.runs(0))
}

func cancelAfterFirstResponse(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := b.client.StreamGenerate(ctx, repeated("more", nil))
	if err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil {
		return err
	}
	cancel()
	_, err = folded(stream)
	return all(endsWith(err, codes.Canceled), b.upstream.runs(0))
}

func timeoutOnSleepingServer(ctx context.Context, b *bench) error {
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	_, tooShort := b.client.Generate(short, prompted("Wait."))

	// Long enough that the call gets upstream, which the end of the deadline must free.
	ctx, cancel = context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := b.client.Generate(ctx, prompted("Wait."))
	return all(
		endsWith(tooShort, codes.DeadlineExceeded),
		endsWith(err, codes.DeadlineExceeded),
		b.upstream.runs(0),
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
