// A client of vllm-grpc-adapter. The messages of the contract are in the namespace vllm_adapter::v1.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "vllm_adapter/v1/generation.grpc.pb.h"

namespace vllm_adapter {

// Tries again what is UNAVAILABLE, as long as no answer has begun.
extern const char* const kServiceConfig;

// The adapter's own limit for a response.
constexpr int kMaxReceiveBytes = 32 << 20;

// A call that did not end with OK. what() says what is wrong.
class AdapterError : public std::runtime_error {
 public:
  explicit AdapterError(const grpc::Status& status);

  // The status.
  grpc::StatusCode code;
  // What is wrong, for programs, as UPSTREAM_OVERLOADED. Empty where this side's library made the status.
  std::string reason;
  // The path of the wrong field. Empty where none is to blame.
  std::string field;
  // The time to wait before the next try. Empty where nothing was said.
  std::optional<std::chrono::milliseconds> retry_delay;
  // The call's x-request-id. Empty where this side's library made the status.
  std::string request_id;
  // Further facts; after the first event of a stream, partial and deltas.
  std::map<std::string, std::string> metadata;
};

// The events of a stream. Its end of life ends the call.
class Events {
 public:
  ~Events();
  // Reads the next event. False: the answer has ended without an error. Throws AdapterError.
  bool next(v1::StreamGenerateResponse* event);

 private:
  friend class Client;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::StreamGenerateResponse>> reader_;
};

// Calls GenerationService, and throws AdapterError. Threads may share it.
class Client {
 public:
  explicit Client(std::shared_ptr<grpc::Channel> to) : channel(to), stub_(v1::GenerationService::NewStub(to)) {}
  // The whole answer, within a time.
  v1::GenerateResponse generate(const v1::GenerateRequest& request, std::chrono::milliseconds timeout);
  // The events of the answer, within a time.
  std::unique_ptr<Events> stream_generate(const v1::GenerateRequest& request, std::chrono::milliseconds timeout);

  // The connection, for the stubs of the other services; AdapterError takes what they return.
  const std::shared_ptr<grpc::Channel> channel;

 private:
  std::unique_ptr<v1::GenerationService::Stub> stub_;
};

// A client of the adapter at an address, as localhost:50051. It connects at the first call.
//
// tls: as grpc::SslCredentials({}); null is plaintext. key: a bearer key, sent in each call; std::invalid_argument
// without TLS; empty is none. arguments: further options of the channel; they prevail.
Client connect(const std::string& address, std::shared_ptr<grpc::ChannelCredentials> tls = nullptr,
               const std::string& key = "", grpc::ChannelArguments arguments = {});

// The answer of these events, as Generate gives it. Unless they are all, up to an end without an error, it is incomplete.
v1::GenerateResponse fold(const std::vector<v1::StreamGenerateResponse>& events);
// Reads a stream to its end, and gives the whole answer.
v1::GenerateResponse fold(Events& events);

}  // namespace vllm_adapter
