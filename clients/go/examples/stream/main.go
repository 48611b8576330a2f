// Command stream prints an answer while it is made, and then what is known of the whole.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	adapter "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go"
	v1 "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

func main() {
	client, err := adapter.Connect(os.Args[1], adapter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	maxTokens := int32(100)
	request := &v1.GenerateRequest{Prompt: "Think about 2+2.", MaxTokens: &maxTokens}
	var events []*v1.StreamGenerateResponse
	for event, err := range client.StreamGenerate(ctx, request) {
		if err != nil {
			log.Fatal(err)
		}
		events = append(events, event)
		fmt.Print(event.GetContent().GetText())
	}
	fmt.Println()
	response := adapter.Fold(events)
	choice := response.GetChoices()[0]
	fmt.Println("reasoning:", choice.GetMessage().GetReasoning())
	fmt.Println("finish reason:", choice.GetFinishReason())
	fmt.Println("tokens:", response.GetUsage().GetPromptTokens(), "+", response.GetUsage().GetCompletionTokens())
}
