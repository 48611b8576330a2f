//! What operators see of calls: metrics, lines of the log, load reports and traces.

use std::{collections::BTreeMap, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use prost::Message as _;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, transport::Channel};
use vllm_grpc_adapter::proto::{
    GenerateRequest, GenerateResponse, generation_service_client::GenerationServiceClient,
    orca::OrcaLoadReport,
};

use crate::support::{
    adapter::Adapter,
    process::{Builder, Process},
    reply::Reply,
    requests::prompt,
    soon,
    vllm::{self, Vllm, closed_port},
    wire,
};

/// How calls of [`many_calls`] end, by the prompt that asks for it.
const ENDS: [&str; 8] = [
    "whole",
    "streamed",
    "refused",
    "malformed",
    "cut",
    "invalid",
    "unknown method",
    "left",
];

/// Answers as the prompt says.
fn as_asked(request: &vllm::Request) -> Reply {
    let body = String::from_utf8_lossy(&request.body);
    let asks_for = |end: &str| body.contains(&format!("\"{end}\""));
    let begun = Reply::stream().event(wire::first()).event(wire::text("a"));
    match () {
        () if asks_for("streamed") => begun
            .event(wire::finish("stop"))
            .event(wire::usage())
            .done(),
        () if asks_for("refused") => Reply::json(404, wire::error("no", "NotFoundError", 404)),
        () if asks_for("malformed") => Reply::json(200, "{"),
        () if asks_for("cut") => begun.cut(),
        () if asks_for("left") => begun.fall_silent(),
        () => Reply::json(200, wire::answer("a")),
    }
}

/// One call, whose model no other has; returns the code that its caller saw.
async fn call(channel: Channel, n: usize) -> Code {
    let end = ENDS[fastrand::usize(..ENDS.len())];
    let mut client = GenerationServiceClient::new(channel.clone());
    let request = GenerateRequest {
        model: format!("model-{n}"),
        ..prompt(if end == "invalid" { "" } else { end })
    };
    let code = |status: Status| status.code();
    match end {
        "streamed" | "cut" | "left" => {
            let mut responses = match client.stream_generate(request).await {
                Ok(response) => response.into_inner(),
                Err(status) => return status.code(),
            };
            loop {
                match responses.message().await {
                    Ok(Some(_)) if end == "left" => return Code::Cancelled,
                    Ok(Some(_)) => {}
                    Ok(None) => return Code::Ok,
                    Err(status) => return status.code(),
                }
            }
        }
        "unknown method" => {
            let mut client = tonic::client::Grpc::new(channel);
            client.ready().await.unwrap();
            let path = format!("/made.Up{n}/Method{n}").parse().unwrap();
            let codec = tonic_prost::ProstCodec::<GenerateRequest, GenerateResponse>::default();
            let answered = client.unary(Request::new(request), path, codec).await;
            answered.err().map_or(Code::Ok, code)
        }
        _ => client.generate(request).await.err().map_or(Code::Ok, code),
    }
}

/// The codes that the callers of `n` calls saw, by how grpc-go names them.
async fn many_calls(channel: &Channel, n: usize) -> BTreeMap<String, u64> {
    let (mut calls, mut codes) = (JoinSet::new(), BTreeMap::new());
    for n in 0..n {
        if calls.len() >= 32 {
            let code = calls.join_next().await.unwrap().unwrap();
            *codes.entry(name(code)).or_default() += 1;
        }
        calls.spawn(call(channel.clone(), n));
    }
    for code in calls.join_all().await {
        *codes.entry(name(code)).or_default() += 1;
    }
    codes
}

fn name(code: Code) -> String {
    let name = match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        other => return format!("{other:?}"),
    };
    name.to_owned()
}

/// The metrics, as a scraper of OpenMetrics gets them.
async fn scrape(process: &Process) -> String {
    let log = process.log().replace("\u{1b}[0m", "");
    let admin = log
        .lines()
        .find_map(|line| line.split_once("admin="))
        .unwrap()
        .1;
    let mut socket = TcpStream::connect(admin).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\naccept: application/openmetrics-text\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("a scrape", socket.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(
        answer.contains("content-type: application/openmetrics-text"),
        "{answer}"
    );
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    answer
}

/// The sum of the samples of that name by a label.
fn by_label(metrics: &str, sample: &str, label: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in metrics
        .lines()
        .filter(|line| line.starts_with(&format!("{sample}{{")))
    {
        let (labels, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let of = labels.split_once(&format!("{label}=\"")).unwrap().1;
        *sums
            .entry(of.split('"').next().unwrap().to_owned())
            .or_default() += value as u64;
    }
    sums
}

fn watched(builder: Builder) -> Builder {
    builder.flag("--admin-listen", "127.0.0.1:0")
}

#[tokio::test]
async fn what_is_counted_is_what_callers_saw() {
    const N: usize = 10_000;
    let vllm = Vllm::choosing(as_asked).await;
    let process = watched(Process::before(&vllm.base_url())).start().await;
    let channel = process.channel().await;
    let codes = many_calls(&channel, N).await;
    let counted = async {
        loop {
            let metrics = scrape(&process).await;
            let is_idle = |gauge: &str| metrics.contains(&format!("\n{gauge} 0\n"));
            if is_idle("adapter_calls_in_flight")
                && process.log().matches(" call method=").count() >= N
            {
                return metrics;
            }
            tokio::task::yield_now().await;
        }
    };
    let metrics = soon("the end of all calls", counted).await;
    let handled = by_label(&metrics, "grpc_server_handled_total", "grpc_code");
    assert_eq!(handled, codes);
    assert!(codes.len() >= 6, "{codes:?}");
    let started = by_label(&metrics, "grpc_server_started_total", "grpc_type");
    assert_eq!(started.values().sum::<u64>(), N as u64);
    assert_eq!(process.log().matches(" call method=").count(), N);
    for idle in [
        "adapter_request_memory_bytes 0",
        "adapter_connections 1",
        "adapter_log_lines_dropped_total 0.0",
    ] {
        assert!(
            metrics.contains(&format!("\n{idle}\n")),
            "{idle}: {metrics}"
        );
    }
    let in_flight = by_label(&metrics, "adapter_upstream_in_flight", "upstream");
    assert_eq!(in_flight.values().sum::<u64>(), 0);
    let attempts = by_label(&metrics, "adapter_upstream_attempts_total", "upstream");
    assert_eq!(attempts["vllm"], vllm.n_requests() as u64);
    // As many models, and many methods.
    assert!(metrics.contains("gen_ai_request_model=\"other\""));
    assert!(
        !metrics.contains("model-") && !metrics.contains("made.Up"),
        "{metrics}"
    );
    assert!(metrics.lines().count() < 600, "{metrics}");
}

#[tokio::test]
async fn a_load_report_comes_with_every_call_and_not_with_probes() {
    let vllm = Vllm::choosing(as_asked).await;
    let adapter =
        Adapter::before(vllm.base_url()).with(|config| config.server.max_in_flight = Some(4));
    let adapter = adapter.start().await;
    let mut client = adapter.client();
    let whole = client.generate(prompt("whole")).await.unwrap();
    let refused = client.generate(prompt("refused")).await.unwrap_err();
    let mut streamed = client
        .stream_generate(prompt("streamed"))
        .await
        .unwrap()
        .into_inner();
    let trailers = streamed.trailers().await.unwrap().unwrap();
    for metadata in [whole.metadata(), refused.metadata(), &trailers] {
        let sent = metadata.get_bin("endpoint-load-metrics-bin").unwrap();
        // Padded where it must be, as Envoy demands it.
        let report = STANDARD.decode(sent.as_encoded_bytes()).unwrap();
        let report = OrcaLoadReport::decode(&report[..]).unwrap();
        assert!(report.rps_fractional > 0.0, "{report:?}");
        assert!(
            (0.25..=1.0).contains(&report.application_utilization),
            "{report:?}"
        );
    }
    let mut health = tonic_health::pb::health_client::HealthClient::new(adapter.channel());
    let probed = health
        .check(tonic_health::pb::HealthCheckRequest::default())
        .await
        .unwrap();
    assert!(
        probed
            .metadata()
            .get_bin("endpoint-load-metrics-bin")
            .is_none()
    );
}

/// A collector that keeps what it is sent.
struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let _ = self.0.send(request.into_inner()).await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn exporting(builder: Builder, collector: SocketAddr) -> Builder {
    builder
        .variable(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            &format!("http://{collector}"),
        )
        .variable("OTEL_BSP_SCHEDULE_DELAY", "50")
}

/// The spans of the next calls, until there are `n`, and the name of the service that they are of.
async fn spans(
    requests: &mut mpsc::Receiver<ExportTraceServiceRequest>,
    n: usize,
) -> (Vec<Span>, String) {
    let (mut spans, mut service) = (Vec::new(), String::new());
    while spans.len() < n {
        let request = soon("spans", requests.recv()).await.unwrap();
        assert!(
            !format!("{request:?}").contains("secret words"),
            "{request:?}"
        );
        for resource in request.resource_spans {
            let attributes = resource.resource.unwrap().attributes;
            let named = attributes
                .iter()
                .find(|it| it.key == "service.name")
                .unwrap();
            service = format!("{:?}", named.value);
            spans.extend(
                resource
                    .scope_spans
                    .into_iter()
                    .flat_map(|scope| scope.spans),
            );
        }
    }
    (spans, service)
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|it| it.key == key);
    match found.and_then(|it| it.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(_)) => "a number".to_owned(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_has_a_span_and_so_has_each_attempt_but_not_its_prompt() {
    let (sender, mut requests) = mpsc::channel(64);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let collector =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
    let mut tasks = JoinSet::new();
    tasks.spawn(collector.serve_with_incoming(TcpListenerStream::new(listener)));
    let vllm = Vllm::choosing(as_asked).await;
    let process = exporting(Process::before(&vllm.base_url()), address)
        .start()
        .await;
    let mut client = process.client().await;

    let mut request = Request::new(GenerateRequest {
        model: "m".to_owned(),
        ..prompt("streamed")
    });
    let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request
        .metadata_mut()
        .insert("traceparent", sent.parse().unwrap());
    let mut responses = client.stream_generate(request).await.unwrap().into_inner();
    while responses.message().await.unwrap().is_some() {}
    let (both, service) = spans(&mut requests, 2).await;
    assert!(service.contains("vllm-grpc-adapter"), "{service}");
    let of_kind = |kind: i32| both.iter().find(|it| it.kind == kind).unwrap();
    let (server, client_span) = (of_kind(2), of_kind(3));
    assert_eq!(
        server.name,
        "vllm_adapter.v1.GenerationService/StreamGenerate"
    );
    assert_eq!(
        server.parent_span_id,
        [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]
    );
    assert_eq!(client_span.parent_span_id, server.span_id);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let (trace, span) = (hex(&client_span.trace_id), hex(&client_span.span_id));
    assert_eq!(trace, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(
        vllm.request(0).await.header("traceparent"),
        Some(&*format!("00-{trace}-{span}-01"))
    );
    process.says(&format!("trace_id=\"{trace}\"")).await;
    for (span, key, expected) in [
        (server, "rpc.system.name", "grpc"),
        (server, "rpc.response.status_code", "OK"),
        (client_span, "gen_ai.operation.name", "chat"),
        (client_span, "gen_ai.request.model", "m"),
        (client_span, "gen_ai.usage.input_tokens", "2"),
        (client_span, "gen_ai.usage.output_tokens", "3"),
        (
            client_span,
            "gen_ai.response.time_to_first_chunk",
            "a number",
        ),
    ] {
        assert_eq!(attribute(span, key), expected, "{key}");
    }

    let request = GenerateRequest {
        model: "refused".to_owned(),
        ..prompt("secret words")
    };
    client.generate(request).await.unwrap_err();
    let (both, _) = spans(&mut requests, 2).await;
    for span in both {
        let is_client = span.kind == 3;
        assert_eq!(
            span.status.unwrap_or_default().code,
            if is_client { 2 } else { 0 }
        );
    }
}

#[tokio::test]
async fn a_collector_that_is_dead_or_silent_costs_no_call() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = closed_port().await.port().unwrap();
    let vllm = Vllm::choosing(as_asked).await;
    for collector in [([127, 0, 0, 1], dead).into(), silent.local_addr().unwrap()] {
        let mut process = exporting(Process::before(&vllm.base_url()), collector)
            .start()
            .await;
        let mut client = process.client().await;
        // More spans than the queue holds.
        for _ in 0..1500 {
            soon("an answer", client.generate(prompt("whole")))
                .await
                .unwrap();
        }
        process.send(Signal::TERM);
        drop(client);
        assert!(process.exit().await.success());
    }
}

#[tokio::test]
async fn variables_of_opentelemetry_that_cannot_be_used_are_refused() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "not a URL"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ] {
        let mut command = crate::support::process::binary();
        let command = command.args([
            "--upstream",
            "http://127.0.0.1:1/v1",
            "--listen",
            "127.0.0.1:0",
        ]);
        let output = command.env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(name), "{said}");
    }
}
