#include "vllm_adapter/client.h"

namespace vllm_adapter {

const char* const kServiceConfig = R"({
  "methodConfig": [{
    "name": [{}],
    "retryPolicy": {
      "maxAttempts": 3, "initialBackoff": "0.5s", "maxBackoff": "5s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1}
})";

Client connect(const std::string& address, std::shared_ptr<grpc::ChannelCredentials> tls, const std::string& key,
               grpc::ChannelArguments arguments) {
  if (!key.empty()) {
    if (!tls) throw std::invalid_argument("key is sent over TLS alone: set tls too, as grpc::SslCredentials({}).");
    tls = grpc::CompositeChannelCredentials(tls, grpc::AccessTokenCredentials(key));
  }
  // The first of one name holds.
  arguments.SetServiceConfigJSON(kServiceConfig);
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  return Client(grpc::CreateCustomChannel(address, tls ? tls : grpc::InsecureChannelCredentials(), arguments));
}

v1::GenerateResponse Client::generate(const v1::GenerateRequest& request, std::chrono::milliseconds timeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  v1::GenerateResponse response;
  const grpc::Status status = stub_->Generate(&context, request, &response);
  if (!status.ok()) throw AdapterError(status);
  return response;
}

std::unique_ptr<Events> Client::stream_generate(const v1::GenerateRequest& request, std::chrono::milliseconds timeout) {
  auto events = std::make_unique<Events>();
  events->context_.set_deadline(std::chrono::system_clock::now() + timeout);
  events->reader_ = stub_->StreamGenerate(&events->context_, request);
  return events;
}

bool Events::next(v1::StreamGenerateResponse* event) {
  if (!reader_) return false;
  if (reader_->Read(event)) return true;
  const grpc::Status status = reader_->Finish();
  reader_.reset();
  if (!status.ok()) throw AdapterError(status);
  return false;
}

Events::~Events() {
  if (!reader_) return;
  context_.TryCancel();
  v1::StreamGenerateResponse unread;
  while (reader_->Read(&unread)) continue;
  reader_->Finish();
}

}  // namespace vllm_adapter
