package main

// The retry policy that the adapter's documentation gives to callers, at work in grpc-go.

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

// retrying is a client on a channel of its own, whose policy it obeys.
func (b *bench) retrying() (pb.GenerationServiceClient, *grpc.ClientConn) {
	conn := b.dial(grpc.WithDefaultServiceConfig(b.serviceConfig))
	return pb.NewGenerationServiceClient(conn), conn
}

// streamed asks for a stream by the policy, and gives its text and its end.
func (b *bench) streamed(ctx context.Context, prompt string) (string, error) {
	client, conn := b.retrying()
	defer conn.Close()
	stream, err := client.StreamGenerate(ctx, prompted(prompt))
	if err != nil {
		return "", err
	}
	text, err := folded(stream)
	b.note("text %q, error %v", text, err)
	return text, err
}

func retryRecoversStream(ctx context.Context, b *bench) error {
	text, err := b.streamed(ctx, "Fail twice with 503: "+unique())
	return all(err, equal("the text", text, hello))
}

func retryWaitsForPushback(ctx context.Context, b *bench) error {
	start := time.Now()
	_, err := b.streamed(ctx, "Fail once with 503: "+unique())
	// Its own first backoff is at most 0.6 s; the upstream asked for 1 s.
	return all(err, holds("the repeat waits for as long as it was told", time.Since(start) >= 950*time.Millisecond))
}

// retryStopsAtNegativePushback: the unary answer was aborted, so that a repeat, which would succeed, would be paid for
// twice.
func retryStopsAtNegativePushback(ctx context.Context, b *bench) error {
	client, conn := b.retrying()
	defer conn.Close()
	_, err := client.Generate(ctx, prompted("Fail once with abort: "+unique()))
	b.note("error %v", err)
	return endsWith(err, codes.Unavailable)
}

// retryNeverAfterDelta: a repeat would succeed.
func retryNeverAfterDelta(ctx context.Context, b *bench) error {
	text, err := b.streamed(ctx, "Fail once with abort: "+unique())
	return all(endsWith(err, codes.Unavailable), equal("the text before", text, "Hello"))
}
