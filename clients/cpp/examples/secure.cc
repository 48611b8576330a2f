// Asks over TLS with a key; and what is said of a certificate that is not trusted.

#include <vllm_adapter/client.h>

#include <fstream>
#include <iostream>
#include <sstream>

using namespace std::chrono_literals;
namespace v1 = vllm_adapter::v1;

std::string ask(const char* address, const std::string& roots, const char* key) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = roots;
  auto client = vllm_adapter::connect(address, grpc::SslCredentials(options), key);
  v1::GenerateRequest request;
  request.set_prompt("Say hello.");
  return client.generate(request, 30s).choices(0).message().content();
}

int main(int, char** argv) {
  std::ostringstream roots;
  roots << std::ifstream(argv[2]).rdbuf();
  std::cout << ask(argv[1], roots.str(), argv[3]) << std::endl;
  try {
    // Trusts what gRPC trusts.
    ask(argv[1], "", argv[3]);
  } catch (const vllm_adapter::AdapterError& error) {
    std::cout << "not trusted: " << (error.code == grpc::StatusCode::UNAVAILABLE ? "UNAVAILABLE" : error.what()) << "\n";
  }
}
