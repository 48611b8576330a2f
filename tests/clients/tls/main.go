// Asks once over TLS, and prints the answer's first word, or the code.
//
//	client-go ADDRESS CA [KEY_FILE | CERT KEY]
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	adapter "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go"
	v1 "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/credentials"
)

func main() {
	options := adapter.Options{}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(read(os.Args[2]))
	switch proof := os.Args[3:]; len(proof) {
	case 1:
		options.Key = strings.TrimSpace(string(read(proof[0])))
	case 2:
		pair, err := tls.LoadX509KeyPair(proof[0], proof[1])
		if err != nil {
			log.Fatal(err)
		}
		// Also where its root is not among those that the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	options.TLS = credentials.NewTLS(config)
	client, err := adapter.Connect(os.Args[1], options)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	response, err := client.Generate(ctx, &v1.GenerateRequest{Prompt: "Say hello."})
	var failed *adapter.Error
	switch {
	case errors.As(err, &failed):
		fmt.Println(code.Code(failed.Code))
	case err != nil:
		log.Fatal(err)
	default:
		word, _, _ := strings.Cut(response.GetChoices()[0].GetMessage().GetContent(), "!")
		fmt.Println(word)
	}
}

func read(path string) []byte {
	bytes, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	return bytes
}
