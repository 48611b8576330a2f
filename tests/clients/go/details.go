package main

// The details of errors, read by the calls of grpc-go's own status package.

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"
)

// details are those of an error, one of each kind.
type details struct {
	code      codes.Code
	info      *errdetails.ErrorInfo
	request   *errdetails.RequestInfo
	violation *errdetails.BadRequest_FieldViolation
	retry     *errdetails.RetryInfo
	resource  *errdetails.ResourceInfo
}

// readDetails takes the details from an error, and notes them.
func (b *bench) readDetails(err error) details {
	found := details{code: status.Code(err)}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			found.info = detail
		case *errdetails.RequestInfo:
			found.request = detail
		case *errdetails.BadRequest:
			found.violation = detail.GetFieldViolations()[0]
		case *errdetails.RetryInfo:
			found.retry = detail
		case *errdetails.ResourceInfo:
			found.resource = detail
		}
		b.note("%T %v", detail, detail)
	}
	return found
}

// are says whether the code, the reason and the id are right.
func (d details) are(code codes.Code, reason, id string) error {
	return all(
		equal("the code", d.code, code),
		equal("the reason", d.info.GetReason(), reason),
		equal("the domain", d.info.GetDomain(), "vllm-grpc-adapter"),
		equal("the request's id", d.request.GetRequestId(), id),
	)
}

// failure makes a unary call, and reads how it failed.
func (b *bench) failure(ctx context.Context, request *pb.GenerateRequest) (details, string) {
	ctx, id := identified(ctx)
	_, err := b.client.Generate(ctx, request)
	return b.readDetails(err), id
}

func detailsBadRequest(ctx context.Context, b *bench) error {
	got, id := b.failure(ctx, &pb.GenerateRequest{Prompt: "Hello!", MaxTokens: proto.Int32(1_000_000)})
	return all(
		got.are(codes.InvalidArgument, "INVALID_REQUEST", id),
		equal("the metadata's http_status", got.info.GetMetadata()["http_status"], "400"),
		equal("the field", got.violation.GetField(), "max_tokens"),
		equal("its description", got.violation.GetDescription(), "max_tokens must be in [1, 131072], got 1000000."),
	)
}

func detailsContextLength(ctx context.Context, b *bench) error {
	got, id := b.failure(ctx, prompted(strings.Repeat("word ", 120_000)))
	return all(
		got.are(codes.InvalidArgument, "CONTEXT_LENGTH_EXCEEDED", id),
		equal("the field", got.violation.GetField(), "prompt"),
	)
}

func detailsModelNotFound(ctx context.Context, b *bench) error {
	got, id := b.failure(ctx, &pb.GenerateRequest{Prompt: "Hello!", Model: "missing"})
	return all(
		got.are(codes.NotFound, "MODEL_NOT_FOUND", id),
		equal("the metadata's model", got.info.GetMetadata()["model"], "missing"),
		equal("the resource", got.resource.GetResourceType()+" "+got.resource.GetResourceName(), "model missing"),
	)
}

func detailsRetryInfo(ctx context.Context, b *bench) error {
	got, id := b.failure(ctx, prompted("Fail with 503."))
	return all(
		got.are(codes.Unavailable, "UPSTREAM_OVERLOADED", id),
		equal("the delay", got.retry.GetRetryDelay().AsDuration(), time.Second),
	)
}

func detailsAfterDelta(ctx context.Context, b *bench) error {
	ctx, id := identified(ctx)
	stream, err := b.client.StreamGenerate(ctx, prompted("Fail with abort."))
	if err != nil {
		return err
	}
	text, err := folded(stream)
	got := b.readDetails(err)
	metadata := got.info.GetMetadata()
	return all(
		equal("the text before", text, "Hello"),
		got.are(codes.Unavailable, "UPSTREAM_ABORTED", id),
		equal("the metadata", fmt.Sprint(metadata["partial"], " ", metadata["deltas"]), "true 1"),
	)
}
