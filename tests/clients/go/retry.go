package main

// The retry policy that the adapter's documentation gives to callers, at work in grpc-go.

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "github.com/vllm-grpc-adapter/vllm-grpc-adapter/gen/go/vllm_adapter/v1"
)

// retrying is a client on a channel of its own, whose policy it obeys.
func (b *bench) retrying() (pb.GenerationServiceClient, *grpc.ClientConn) {
	conn := b.dial(grpc.WithDefaultServiceConfig(b.serviceConfig))
	return pb.NewGenerationServiceClient(conn), conn
}

// streamed asks a part of the upstream for a stream by the policy, and gives its text, its end, and what was seen.
func (b *bench) streamed(ctx context.Context, part string) (string, error, report) {
	client, conn := b.retrying()
	defer conn.Close()
	ctx, id := identified(ctx)
	var seen report
	stream, err := client.StreamGenerate(ctx, prompted(part, "Hello!"))
	if err != nil {
		return "", err, seen
	}
	text, err := folded(stream)
	seen, fault := b.upstream.ended(id)
	if fault != nil {
		b.note("%v", fault)
	}
	b.note("%d attempts, %v ms apart; text %q, error %v", seen.Attempts, seen.GapsMS, text, err)
	return text, err, seen
}

func retryRecoversStream(ctx context.Context, b *bench) error {
	text, err, seen := b.streamed(ctx, "busy-twice")
	return all(err, equal("the text", text, hello), equal("the attempts", seen.Attempts, 3))
}

func retryWaitsForPushback(ctx context.Context, b *bench) error {
	_, err, seen := b.streamed(ctx, "busy")
	if err := all(endsWith(err, codes.Unavailable), equal("the attempts", seen.Attempts, 3)); err != nil {
		return err
	}
	// Its own first backoff is at most 0.6 s; the upstream asked for 1 s.
	return holds("the first repeat waits for as long as it was told", seen.GapsMS[0] >= 950)
}

// retryStopsAtNegativePushback: the unary answer was cut, so that a repeat would be paid for twice.
func retryStopsAtNegativePushback(ctx context.Context, b *bench) error {
	client, conn := b.retrying()
	defer conn.Close()
	ctx, id := identified(ctx)
	_, err := client.Generate(ctx, prompted("cut-answer", "Hello!"))
	seen, fault := b.upstream.ended(id)
	b.note("%d attempt, error %v", seen.Attempts, err)
	return all(fault, endsWith(err, codes.Unavailable), equal("the attempts", seen.Attempts, 1))
}

func retryNeverAfterDelta(ctx context.Context, b *bench) error {
	text, err, seen := b.streamed(ctx, "cut-after-delta")
	return all(
		endsWith(err, codes.Unavailable),
		equal("the text before", text, "Hello"),
		equal("the attempts", seen.Attempts, 1),
	)
}
