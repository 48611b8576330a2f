#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "vllm_adapter/client.h"

namespace vllm_adapter {

AdapterError::AdapterError(const grpc::Status& status)
    : std::runtime_error(status.error_message()), code(status.error_code()) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RequestInfo request;
    google::rpc::BadRequest bad;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) {
      reason = info.reason();
      metadata = {info.metadata().begin(), info.metadata().end()};
    } else if (detail.UnpackTo(&request)) {
      request_id = request.request_id();
    } else if (detail.UnpackTo(&bad) && bad.field_violations_size() > 0) {
      field = bad.field_violations(0).field();
    } else if (detail.UnpackTo(&retry)) {
      const auto& delay = retry.retry_delay();
      retry_delay = std::chrono::milliseconds(delay.seconds() * 1000 + delay.nanos() / 1000000);
    }
  }
}

}  // namespace vllm_adapter
