// Command errors shows what a failed call says: the wrong field, how long to wait, what came before, and a passed deadline.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc/codes"

	adapter "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go"
	v1 "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

// names are those of the specification; codes.Code prints its own.
var names = map[codes.Code]string{
	codes.InvalidArgument: "INVALID_ARGUMENT", codes.Unavailable: "UNAVAILABLE", codes.DeadlineExceeded: "DEADLINE_EXCEEDED",
}

// generate gives the error of a call, or ends the program.
func generate(client *adapter.Client, timeout time.Duration, request *v1.GenerateRequest) *adapter.Error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, err := client.Generate(ctx, request)
	return failure(err)
}

func failure(err error) *adapter.Error {
	var failed *adapter.Error
	if !errors.As(err, &failed) {
		log.Fatal("no error of the adapter: ", err)
	}
	return failed
}

func main() {
	client, err := adapter.Connect(os.Args[1], adapter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	none := int32(0)
	failed := generate(client, 30*time.Second, &v1.GenerateRequest{Prompt: "Say hello.", MaxTokens: &none})
	fmt.Println("wrong field:", names[failed.Code], failed.Reason, failed.Field)

	// The connection tries twice more, after as long as the adapter says.
	failed = generate(client, 30*time.Second, &v1.GenerateRequest{Prompt: "Fail with 503."})
	fmt.Printf("overloaded: %s %s %.1f\n", names[failed.Code], failed.Reason, failed.RetryDelay.Seconds())

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var events []*v1.StreamGenerateResponse
	for event, err := range client.StreamGenerate(ctx, &v1.GenerateRequest{Prompt: "Fail with abort."}) {
		if err == nil {
			events = append(events, event)
			continue
		}
		failed = failure(err)
		content := adapter.Fold(events).GetChoices()[0].GetMessage().GetContent()
		fmt.Println("cut off:", names[failed.Code], failed.Reason, "after", content)
	}

	failed = generate(client, 500*time.Millisecond, &v1.GenerateRequest{Prompt: "Wait."})
	fmt.Println("too late:", names[failed.Code])
}
