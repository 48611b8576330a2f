//! What to try in front of the simulated vLLM.

use std::net::SocketAddr;

/// The grpcurl calls to try first, one a line, for an adapter that listens on `listen`.
///
/// An adapter that listens on every interface is called through the loopback one.
pub fn grpcurl_lines(listen: SocketAddr) -> String {
    let target = match listen.ip().is_unspecified() {
        true => format!("localhost:{}", listen.port()),
        false => listen.to_string(),
    };
    [
        ("Generate", r#"{"prompt":"Hello!"}"#),
        ("StreamGenerate", r#"{"prompt":"Count to ten."}"#),
        ("StreamGenerate", r#"{"prompt":"Think about 2+2."}"#),
        ("StreamGenerate", r#"{"prompt":"Weather in Paris?","tools":[{"name":"get_weather","parameters_json":"{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}"}]}"#),
    ]
    .map(|(method, request)| {
        let method = format!("vllm_adapter.v1.GenerationService/{method}");
        format!("grpcurl -plaintext -d '{request}' {target} {method}\n")
    })
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grpcurl_lines_name_an_address_that_can_be_called() {
        for (listen, target) in [
            ("127.0.0.1:50051", " 127.0.0.1:50051 "),
            ("0.0.0.0:7", " localhost:7 "),
            ("[::]:7", " localhost:7 "),
            ("[::1]:7", " [::1]:7 "),
        ] {
            let lines = grpcurl_lines(listen.parse().unwrap());
            assert!(lines.lines().all(|line| line.contains(target)), "{lines}");
        }
    }
}
