// Command tools lets the model call a tool, and answers with the tool's result.
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
	"google.golang.org/protobuf/proto"
)

const parameters = `{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`

func main() {
	client, err := adapter.Connect(os.Args[1], adapter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tools := []*v1.Tool{{Name: "get_weather", Description: proto.String("The weather in a city."), ParametersJson: parameters}}
	turns := []*v1.ChatMessage{{Role: v1.Role_ROLE_USER, Content: "Weather in Paris?"}}
	var events []*v1.StreamGenerateResponse
	for event, err := range client.StreamGenerate(ctx, &v1.GenerateRequest{Messages: turns, Tools: tools}) {
		if err != nil {
			log.Fatal(err)
		}
		events = append(events, event)
	}
	choice := adapter.Fold(events).GetChoices()[0]
	fmt.Println("finish reason:", choice.GetFinishReason())
	turns = append(turns, choice.GetMessage())
	for _, call := range choice.GetMessage().GetToolCalls() {
		var arguments struct{ City string }
		if err := json.Unmarshal([]byte(call.GetArguments()), &arguments); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", call.GetName(), arguments.City)
		result := fmt.Sprintf("Sunny in %s.", arguments.City)
		turns = append(turns, &v1.ChatMessage{Role: v1.Role_ROLE_TOOL, ToolCallId: call.GetId(), Content: result})
	}
	response, err := client.Generate(ctx, &v1.GenerateRequest{Messages: turns, Tools: tools})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.GetChoices()[0].GetMessage().GetContent())
}
