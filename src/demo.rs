//! What to try in front of the simulated vLLM.

use std::net::SocketAddr;

use crate::config::DEFAULT_ADDRESS;

/// Calls to try, one a line and ready to paste, for an adapter that listens on `listen`: four of `ask`, as which
/// `program` is called, and one of grpcurl.
///
/// An adapter that listens on every interface is called through the loopback one.
pub fn lines(program: &str, listen: SocketAddr) -> [String; 5] {
    let target = match listen.ip().is_unspecified() {
        true => format!("localhost:{}", listen.port()),
        false => listen.to_string(),
    };
    let address = match target == DEFAULT_ADDRESS {
        true => String::new(),
        false => format!(" --address {target}"),
    };
    let ask = |what: &str| format!("{program} ask{address} {what}");
    let request = r#"{"query":"How do I stream tokens?","documents":["Paris is in France.","Streaming sends tokens as they are made.","Cats sleep."]}"#;
    [
        ask(r#""Write a haiku.""#),
        ask(r#""Think about 17 + 25.""#),
        ask(r#"--tools examples/ask/weather.json "Weather in Paris and Tokyo?""#),
        ask(r#"--json-schema examples/ask/person.json "Who wrote the first program?""#),
        format!("grpcurl -plaintext -d '{request}' {target} vllm_adapter.v1.RankingService/Rerank"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_name_an_address_that_can_be_called() {
        for (listen, target) in [
            ("127.0.0.1:7", "127.0.0.1:7"),
            ("0.0.0.0:7", "localhost:7"),
            ("[::]:7", "localhost:7"),
            ("[::1]:7", "[::1]:7"),
        ] {
            let lines = lines("x", listen.parse().unwrap());
            let target = format!(" {target} ");
            assert!(lines.iter().all(|line| line.contains(&target)), "{lines:?}");
        }
        let [line, ..] = lines("x", DEFAULT_ADDRESS.parse().unwrap());
        assert_eq!(line, r#"x ask "Write a haiku.""#);
    }
}
