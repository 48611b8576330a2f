// Command secure asks over TLS with a key; and shows what is said of a certificate that is not trusted.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"

	adapter "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go"
	v1 "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

func ask(address string, tls credentials.TransportCredentials, key string) (string, error) {
	client, err := adapter.Connect(address, adapter.Options{TLS: tls, Key: key})
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	response, err := client.Generate(ctx, &v1.GenerateRequest{Prompt: "Say hello."})
	if err != nil {
		return "", err
	}
	return response.GetChoices()[0].GetMessage().GetContent(), nil
}

func main() {
	address, ca, key := os.Args[1], os.Args[2], os.Args[3]
	trusting, err := credentials.NewClientTLSFromFile(ca, "")
	if err != nil {
		log.Fatal(err)
	}
	content, err := ask(address, trusting, key)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(content)
	// Trusts what the system trusts.
	_, err = ask(address, credentials.NewTLS(nil), key)
	var failed *adapter.Error
	if errors.As(err, &failed) && failed.Code == codes.Unavailable {
		fmt.Println("not trusted: UNAVAILABLE")
	}
}
