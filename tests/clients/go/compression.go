package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/protobuf/proto"
)

// A stranger is a compression that the adapter does not know; it leaves messages as they are.
type stranger struct{}

func (stranger) Name() string                                       { return "stranger" }
func (stranger) Compress(w io.Writer) (io.WriteCloser, error)       { return unclosed{w}, nil }
func (stranger) Decompress(r io.Reader) (result io.Reader, _ error) { return r, nil }

type unclosed struct{ io.Writer }

func (unclosed) Close() error { return nil }

func init() {
	encoding.RegisterCompressor(stranger{})
}

func clientCompressedUnary(ctx context.Context, b *bench) error {
	_, unknown := b.client.Generate(ctx, prompted("Hello!"), grpc.UseCompressor("stranger"))
	_, known := b.client.Generate(ctx, prompted("Hello!"), grpc.UseCompressor("gzip"))
	header, err := b.flaggedWithoutEncoding(ctx)
	if err != nil {
		return err
	}
	b.note("unknown encoding: %v", unknown)
	b.note("flag without encoding: %s %s", header.Get("grpc-status"), header.Get("grpc-message"))
	return all(
		endsWith(known, codes.Unimplemented),
		endsWith(unknown, codes.Unimplemented),
		equal("the status of a flag without encoding", header.Get("grpc-status"), fmt.Sprint(int(codes.Internal))),
	)
}

// flaggedWithoutEncoding sends a message with the flag of a compressed one, and no grpc-encoding, which grpc-go cannot.
//
// It gives the headers and trailers of the answer.
func (b *bench) flaggedWithoutEncoding(ctx context.Context) (http.Header, error) {
	message, err := proto.Marshal(prompted("Hello!"))
	if err != nil {
		return nil, err
	}
	frame := append([]byte{1, 0, 0, 0, byte(len(message))}, message...)
	url := "http://" + b.address + "/vllm_adapter.v1.GenerationService/Generate"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(frame))
	if err != nil {
		return nil, err
	}
	request.Header.Set("content-type", "application/grpc")
	request.Header.Set("te", "trailers")
	transport := &http2.Transport{AllowHTTP: true, DialTLSContext: dialPlain}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, err
	}
	for name, values := range response.Trailer {
		response.Header[name] = values
	}
	return response.Header, nil
}

func dialPlain(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, address)
}
