"""The services that every gRPC server offers."""

import threading

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from bench import CALL_SECONDS, ends_with, equal, failure

SERVICE = "vllm_adapter.v1.GenerationService"
FILE = "vllm_adapter/v1/generation.proto"
SERVING = health_pb2.HealthCheckResponse.SERVING


def health_check(bench):
    stub = health_pb2_grpc.HealthStub(bench.channel)
    for service in ("", SERVICE):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=CALL_SECONDS)
        equal(f"the health of {service!r}", answer.status, SERVING)
    unknown = health_pb2.HealthCheckRequest(service="unknown")
    ends_with(failure(lambda: stub.Check(unknown, timeout=CALL_SECONDS)), grpc.StatusCode.NOT_FOUND)


def health_watch(bench):
    stub = health_pb2_grpc.HealthStub(bench.channel)
    wanted = {SERVICE: SERVING, "unknown": health_pb2.HealthCheckResponse.SERVICE_UNKNOWN}
    for service, want in wanted.items():
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=CALL_SECONDS)
        equal(f"the health of {service!r}", next(watch).status, want)
        watch.cancel()


def health_list(bench):
    stub = health_pb2_grpc.HealthStub(bench.channel)
    statuses = stub.List(health_pb2.HealthListRequest(), timeout=CALL_SECONDS).statuses
    found = {name: health_pb2.HealthCheckResponse.ServingStatus.Name(it.status) for name, it in statuses.items()}
    bench.note(found)
    equal("the health of the server", found.get(""), "SERVING")
    equal("the health of the service", found.get(SERVICE), "SERVING")


def reflection_v1(bench):
    """Asks twice on one stream, and the second time only after the first answer.

    The library has v1alpha alone; both versions have the same messages.
    """
    method = bench.channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    names = []

    def requests():
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        while not names:
            answered.acquire()
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)

    answered = threading.Semaphore(0)
    answers = method(requests(), timeout=CALL_SECONDS)
    names += [service.name for service in next(answers).list_services_response.service]
    answered.release()
    files = next(answers).file_descriptor_response.file_descriptor_proto
    bench.note(names)
    assert SERVICE in names, f"{SERVICE} is not listed"
    found = [descriptor_pb2.FileDescriptorProto.FromString(file).name for file in files]
    assert FILE in found, f"{FILE} is not among {found}"


def reflection_v1alpha(bench):
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(bench.channel))
    equal("the service's file", pool.FindServiceByName(SERVICE).file.name, FILE)
