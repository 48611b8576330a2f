package main

import (
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

// all gives the first error.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func equal[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s is %.200v, not %.200v", what, fmt.Sprint(got), fmt.Sprint(want))
	}
	return nil
}

func holds(what string, isTrue bool) error {
	if !isTrue {
		return fmt.Errorf("not so: %s", what)
	}
	return nil
}

// endsWith says whether a call ended with a code.
func endsWith(err error, code codes.Code) error {
	if got := status.Code(err); got != code {
		return fmt.Errorf("the call ended with %v, not %v: %v", got, code, err)
	}
	return nil
}

// prompted is the shortest request.
func prompted(prompt string) *pb.GenerateRequest {
	return &pb.GenerateRequest{Prompt: prompt}
}

// hasText says whether a whole answer is a text.
func hasText(answer *pb.GenerateResponse, want string) error {
	if len(answer.GetChoices()) != 1 {
		return fmt.Errorf("%d choices in %v", len(answer.GetChoices()), answer)
	}
	return equal("the text", answer.GetChoices()[0].GetMessage().GetContent(), want)
}

// folded is the text of a stream and how it ended, nil where that is OK.
func folded(stream grpc.ServerStreamingClient[pb.StreamGenerateResponse]) (string, error) {
	var text strings.Builder
	for {
		event, err := stream.Recv()
		if err == io.EOF {
			return text.String(), nil
		}
		if err != nil {
			return text.String(), err
		}
		text.WriteString(event.GetContent().GetText())
	}
}
