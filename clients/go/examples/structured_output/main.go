// Command structured_output asks for JSON that fits a schema.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	adapter "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go"
	v1 "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

const schema = `{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`

func main() {
	client, err := adapter.Connect(os.Args[1], adapter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	form := &v1.StructuredOutput{Constraint: &v1.StructuredOutput_JsonSchema{JsonSchema: schema}}
	response, err := client.Generate(ctx, &v1.GenerateRequest{Prompt: "A city, as JSON.", StructuredOutput: form})
	if err != nil {
		log.Fatal(err)
	}
	choice := response.GetChoices()[0]
	// Only a whole answer holds whole JSON.
	if choice.GetFinishReason() != v1.FinishReason_FINISH_REASON_STOP {
		log.Fatal("cut off: ", choice.GetFinishReasonRaw())
	}
	var answer struct{ City string }
	if err := json.Unmarshal([]byte(choice.GetMessage().GetContent()), &answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println("city:", answer.City)
}
