// Package adapter is a client of vllm-grpc-adapter. The messages of the contract are in the package vllm_adapter/v1.
package adapter

import (
	"context"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	v1 "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

// ServiceConfig tries again what is UNAVAILABLE, as long as no answer has begun.
const ServiceConfig = `{
  "methodConfig": [{
    "name": [{}],
    "retryPolicy": {
      "maxAttempts": 3, "initialBackoff": "0.5s", "maxBackoff": "5s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1}
}`

// MaxReceiveBytes is the adapter's own limit for a response.
const MaxReceiveBytes = 32 << 20

var keepAlive = keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}

// Options are those of a connection.
type Options struct {
	// TLS, as credentials.NewTLS(nil). Nil: plaintext.
	TLS credentials.TransportCredentials
	// Key is a bearer key, sent in each call. Connect fails where it is set without TLS.
	Key string
	// Further options of grpc-go, as the largest response; they prevail.
	Further []grpc.DialOption
}

// Client calls GenerationService, and returns *Error. Goroutines may share it. The other services take its Conn.
type Client struct {
	Conn *grpc.ClientConn
	stub v1.GenerationServiceClient
}

// Connect gives a client of the adapter at address, as "localhost:50051". It connects at the first call.
func Connect(address string, options Options) (*Client, error) {
	transport := options.TLS
	if transport == nil {
		transport = insecure.NewCredentials()
	}
	settings := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(ServiceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxReceiveBytes)),
		grpc.WithKeepaliveParams(keepAlive),
	}
	if options.Key != "" {
		settings = append(settings, grpc.WithPerRPCCredentials(bearer(options.Key)))
	}
	conn, err := grpc.NewClient(address, append(settings, options.Further...)...)
	return &Client{Conn: conn, stub: v1.NewGenerationServiceClient(conn)}, err
}

// Close closes the connection, and ends the calls that run.
func (c *Client) Close() error { return c.Conn.Close() }

// Generate gives the whole answer. Give the context a deadline.
func (c *Client) Generate(ctx context.Context, request *v1.GenerateRequest) (*v1.GenerateResponse, error) {
	response, err := c.stub.Generate(ctx, request)
	return response, ErrorOf(err)
}

// StreamGenerate gives the events of the answer, and last the error, if there is one. Leaving the loop ends the call.
func (c *Client) StreamGenerate(
	ctx context.Context, request *v1.GenerateRequest,
) iter.Seq2[*v1.StreamGenerateResponse, error] {
	return func(yield func(*v1.StreamGenerateResponse, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := c.stub.StreamGenerate(ctx, request)
		for err == nil {
			var event *v1.StreamGenerateResponse
			if event, err = stream.Recv(); err == nil && !yield(event, nil) {
				return
			}
		}
		if err != io.EOF {
			yield(nil, ErrorOf(err))
		}
	}
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }
