// Command generate asks once, and prints the whole answer.
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
	response, err := client.Generate(ctx, &v1.GenerateRequest{Prompt: "Say hello.", MaxTokens: &maxTokens})
	if err != nil {
		log.Fatal(err)
	}
	choice := response.GetChoices()[0]
	fmt.Println(choice.GetMessage().GetContent())
	fmt.Println("finish reason:", choice.GetFinishReason())
	fmt.Println("tokens:", response.GetUsage().GetPromptTokens(), "+", response.GetUsage().GetCompletionTokens())
}
