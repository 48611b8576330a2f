//! What a terminal shows when the adapter starts: what it serves, and what it was told.

use std::{fmt::Display, net::SocketAddr};

use anstyle::Style;

use crate::config::{ClientAuth, Config};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The screen, with styles, for an adapter that listens on `address`.
pub fn screen(config: &Config, address: SocketAddr) -> String {
    let name = format!(
        "{BOLD}vllm-grpc-adapter {}{BOLD:#}\n",
        env!("CARGO_PKG_VERSION")
    );
    let row = |name: &str, value: &dyn Display| format!("  {DIM}{name:<9}{DIM:#} {value}\n");
    let tls = &config.server.tls;
    let transport = match (&tls.cert, tls.client_auth()) {
        (None, _) => "plaintext",
        (Some(_), ClientAuth::Off) => "TLS",
        (Some(_), ClientAuth::Optional | ClientAuth::Required) => "TLS, callers by certificate",
    };
    let is_on = match config.server.reflection {
        true => "health, reflection",
        false => "health",
    };
    [
        name,
        row("gRPC", &format_args!("{address}, {transport}")),
        row("upstream", &config.upstream.base_url),
        row("key", &config.upstream.api_key_source),
        row("on", &is_on),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Args;

    #[test]
    fn the_screen_says_what_is_served() {
        let flags = ["x", "--upstream", "http://vllm:8000/v1", "--no-reflection"];
        let args = Args::read(flags.map(Into::into)).unwrap();
        let config = Config::try_from_args(args).unwrap();
        let screen = screen(&config, "[::1]:7".parse().unwrap());
        for part in [
            "[::1]:7, plaintext",
            "http://vllm:8000/v1",
            " health\n",
            env!("CARGO_PKG_VERSION"),
        ] {
            assert!(screen.contains(part), "{screen}");
        }
    }
}
