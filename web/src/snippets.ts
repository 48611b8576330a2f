// The call as code, for callers outside the browser. The web port takes gRPC over HTTP/2 too.

import { toJson } from "@bufbuild/protobuf";
import { type GenerateRequest, GenerateRequestSchema } from "./gen/vllm_adapter/v1/generation_pb";
import { hasKey } from "./api";

const isSecure = location.protocol === "https:";
const address = `${location.hostname}:${location.port || (isSecure ? 443 : 80)}`;
const METHOD = "vllm_adapter.v1.GenerationService/StreamGenerate";

const shell = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

function grpcurl(json: string): string {
  const flags = [!isSecure && "-plaintext", hasKey() && '-H "authorization: Bearer $API_KEY"'].filter(Boolean);
  return `grpcurl ${[...flags, `-d ${shell(json)}`].join(" ")} \\\n  ${address} ${METHOD}\n`;
}

function python(json: string): string {
  const channel = isSecure ? `secure_channel("${address}", grpc.ssl_channel_credentials())` : `insecure_channel("${address}")`;
  const metadata = hasKey() ? ', metadata=[("authorization", f"Bearer {os.environ[\'API_KEY\']}")]' : "";
  return `# pip install grpcio-tools
# python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. proto/vllm_adapter/v1/*.proto
${hasKey() ? "import os\n\n" : ""}import grpc
from google.protobuf import json_format
from vllm_adapter.v1 import generation_pb2, generation_pb2_grpc

request = json_format.Parse(${JSON.stringify(json)}, generation_pb2.GenerateRequest())

with grpc.${channel} as channel:
    client = generation_pb2_grpc.GenerationServiceStub(channel)
    for event in client.StreamGenerate(request${metadata}):
        print(event.content.text, end="", flush=True)
`;
}

function go(json: string): string {
  const credentials = isSecure ? "credentials.NewTLS(nil)" : "insecure.NewCredentials()";
  const imports = [
    "context", "fmt", "io", "log", hasKey() && "os", "",
    'vllm "github.com/vllm-grpc-adapter/vllm-grpc-adapter/clients/go/vllm_adapter/v1"',
    "google.golang.org/grpc",
    isSecure ? "google.golang.org/grpc/credentials" : "google.golang.org/grpc/credentials/insecure",
    hasKey() && "google.golang.org/grpc/metadata",
    "google.golang.org/protobuf/encoding/protojson",
  ].filter((it) => it !== false);
  const lines = imports.map((it) => (it === "" ? "" : it.includes('"') ? `\t${it}` : `\t"${it}"`));
  const metadata = hasKey() ? '\tctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("API_KEY"))\n' : "";
  return `package main

import (
${lines.join("\n")}
)

func main() {
	ctx := context.Background()
${metadata}	conn, err := grpc.NewClient("${address}", grpc.WithTransportCredentials(${credentials}))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	request := &vllm.GenerateRequest{}
	if err := protojson.Unmarshal([]byte(${JSON.stringify(json)}), request); err != nil {
		log.Fatal(err)
	}
	stream, err := vllm.NewGenerationServiceClient(conn).StreamGenerate(ctx, request)
	if err != nil {
		log.Fatal(err)
	}
	for {
		event, err := stream.Recv()
		if err == io.EOF {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(event.GetContent().GetText())
	}
}
`;
}

function typescript(pretty: string): string {
  const headers = hasKey() ? ", { headers: { authorization: `Bearer ${process.env.API_KEY}` } }" : "";
  return `// npm install @connectrpc/connect @connectrpc/connect-node @bufbuild/protobuf; buf generate with protoc-gen-es
import { fromJson } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { GenerateRequestSchema, GenerationService } from "./gen/vllm_adapter/v1/generation_pb";

const transport = createGrpcTransport({ baseUrl: "${isSecure ? "https" : "http"}://${address}" });
const client = createClient(GenerationService, transport);
const request = fromJson(GenerateRequestSchema, ${pretty});

for await (const { event } of client.streamGenerate(request${headers})) {
  if (event.case === "content") process.stdout.write(event.value.text);
}
`;
}

/** The call in each language, by its name. */
export function snippets(request: GenerateRequest): Record<string, string> {
  const body = toJson(GenerateRequestSchema, request);
  const [json, pretty] = [JSON.stringify(body), JSON.stringify(body, null, 2)];
  return { grpcurl: grpcurl(pretty), Python: python(json), Go: go(json), TypeScript: typescript(pretty) };
}
