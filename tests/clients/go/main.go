// Command client calls the adapter by grpc-go, case by case, and prints what it got.
//
//	client ADAPTER UPSTREAM SERVICE_CONFIG
//
// ADAPTER is the adapter's host and port, UPSTREAM those of the simulated vLLM behind it, and SERVICE_CONFIG the file with the
// retry policy.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

// callTimeout bounds calls that are to end long before.
const callTimeout = 30 * time.Second

// A testCase shows one thing, by the same name in every language.
type testCase struct {
	name string
	run  func(context.Context, *bench) error
}

var cases = []testCase{
	{"empty_unary", emptyUnary},
	{"large_unary", largeUnary},
	{"client_compressed_unary", clientCompressedUnary},
	{"server_streaming", serverStreaming},
	{"custom_metadata", customMetadata},
	{"status_code_and_message", statusCodeAndMessage},
	{"special_status_message", specialStatusMessage},
	{"unimplemented_method", unimplementedMethod},
	{"unimplemented_service", unimplementedService},
	{"cancel_after_begin", cancelAfterBegin},
	{"cancel_after_first_response", cancelAfterFirstResponse},
	{"timeout_on_sleeping_server", timeoutOnSleepingServer},
	{"concurrent_large_unary", concurrentLargeUnary},
	{"rpc_soak", rpcSoak},
	{"channel_soak", channelSoak},
	{"health_check", healthCheck},
	{"health_watch", healthWatch},
	{"health_list", healthList},
	{"reflection_v1", reflectionV1},
	{"reflection_v1alpha", reflectionV1Alpha},
	{"details_bad_request", detailsBadRequest},
	{"details_context_length", detailsContextLength},
	{"details_model_not_found", detailsModelNotFound},
	{"details_retry_info", detailsRetryInfo},
	{"details_after_delta", detailsAfterDelta},
	{"retry_recovers_stream", retryRecoversStream},
	{"retry_waits_for_pushback", retryWaitsForPushback},
	{"retry_stops_at_negative_pushback", retryStopsAtNegativePushback},
	{"retry_never_after_delta", retryNeverAfterDelta},
}

// A bench is what every case works with.
type bench struct {
	address       string
	upstream      upstream
	serviceConfig string
	conn          *grpc.ClientConn
	client        pb.GenerationServiceClient
	// What a case got, printed below its result.
	notes []string
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: client ADAPTER UPSTREAM SERVICE_CONFIG")
		os.Exit(2)
	}
	config, err := os.ReadFile(os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	bench := &bench{address: os.Args[1], upstream: upstream(os.Args[2]), serviceConfig: string(config)}
	bench.conn = bench.dial()
	bench.client = pb.NewGenerationServiceClient(bench.conn)
	failed := false
	for _, it := range cases {
		failed = !bench.show(it) || failed
	}
	if failed {
		os.Exit(1)
	}
}

// show runs a case, prints its result, and says whether it is good.
func (b *bench) show(it testCase) bool {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	b.notes = nil
	err := it.run(ctx, b)
	result := "ok"
	if err != nil {
		result = "FAILED " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	fmt.Printf("%s: %s\n", it.name, result)
	for _, note := range b.notes {
		fmt.Println("    " + note)
	}
	return err == nil
}

// note keeps what a case got.
func (b *bench) note(format string, values ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, values...))
}

// dial makes a channel of its own.
func (b *bench) dial(options ...grpc.DialOption) *grpc.ClientConn {
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient(b.address, options...)
	if err != nil {
		panic(err)
	}
	return conn
}
