package main

// The services that every gRPC server offers.

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	alphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	generationService = "vllm_adapter.v1.GenerationService"
	generationFile    = "vllm_adapter/v1/generation.proto"
	serving           = healthpb.HealthCheckResponse_SERVING
)

func healthCheck(ctx context.Context, b *bench) error {
	client := healthpb.NewHealthClient(b.conn)
	for _, service := range []string{"", generationService} {
		answer, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err := all(err, equal("the health of "+service, answer.GetStatus(), serving)); err != nil {
			return err
		}
	}
	_, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "unknown"})
	return endsWith(err, codes.NotFound)
}

func healthWatch(ctx context.Context, b *bench) error {
	client := healthpb.NewHealthClient(b.conn)
	wanted := map[string]healthpb.HealthCheckResponse_ServingStatus{
		generationService: serving,
		"unknown":         healthpb.HealthCheckResponse_SERVICE_UNKNOWN,
	}
	for service, want := range wanted {
		stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
		if err != nil {
			return err
		}
		answer, err := stream.Recv()
		if err := all(err, equal("the health of "+service, answer.GetStatus(), want)); err != nil {
			return err
		}
	}
	return nil
}

func healthList(ctx context.Context, b *bench) error {
	answer, err := healthpb.NewHealthClient(b.conn).List(ctx, &healthpb.HealthListRequest{})
	if err != nil {
		return err
	}
	b.note("%v", answer.GetStatuses())
	return all(
		equal("the health of the server", answer.GetStatuses()[""].GetStatus(), serving),
		equal("the health of the service", answer.GetStatuses()[generationService].GetStatus(), serving),
	)
}

// reflectionV1 asks twice on one stream, and the second time only after the first answer.
func reflectionV1(ctx context.Context, b *bench) error {
	stream, err := reflectionpb.NewServerReflectionClient(b.conn).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	list := &reflectionpb.ServerReflectionRequest_ListServices{}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: list}); err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err != nil {
		return err
	}
	var names []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	symbol := &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: generationService}
	if err := stream.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: symbol}); err != nil {
		return err
	}
	answer, err = stream.Recv()
	if err != nil {
		return err
	}
	b.note("%v", names)
	return all(
		holds("the service is listed", slices.Contains(names, generationService)),
		hasGenerationFile(answer.GetFileDescriptorResponse().GetFileDescriptorProto()),
		stream.CloseSend(),
	)
}

func reflectionV1Alpha(ctx context.Context, b *bench) error {
	stream, err := alphapb.NewServerReflectionClient(b.conn).ServerReflectionInfo(ctx)
	if err != nil {
		return err
	}
	symbol := &alphapb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: generationService}
	if err := stream.Send(&alphapb.ServerReflectionRequest{MessageRequest: symbol}); err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err != nil {
		return err
	}
	return all(hasGenerationFile(answer.GetFileDescriptorResponse().GetFileDescriptorProto()), stream.CloseSend())
}

func hasGenerationFile(files [][]byte) error {
	var names []string
	for _, bytes := range files {
		var file descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(bytes, &file); err != nil {
			return err
		}
		names = append(names, file.GetName())
	}
	if !slices.Contains(names, generationFile) {
		return fmt.Errorf("%s is not among %v", generationFile, names)
	}
	return nil
}
