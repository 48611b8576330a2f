//! What a terminal shows when the adapter starts: what it serves, and what it was told.

use std::{fmt::Display, net::SocketAddr};

use anstyle::Style;

use crate::config::{ClientAuth, Config};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// Where the adapter listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// Probes; `None` for nowhere.
    pub admin: Option<SocketAddr>,
    /// gRPC-Web; `None` for nowhere.
    pub web: Option<SocketAddr>,
}

/// The upstreams, and where the key came from.
#[must_use]
pub fn upstream(config: &Config) -> (String, String) {
    match &config.upstreams {
        None => (
            config.upstream.base_url.to_string(),
            config.upstream.api_key_source.clone(),
        ),
        Some((upstreams, file)) => {
            let names = upstreams.list.iter().map(|it| it.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            (names, file.0.display().to_string())
        }
    }
}

/// The screen, with styles.
#[must_use]
pub fn screen(config: &Config, addresses: &Addresses) -> String {
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
    let (upstream, key) = upstream(config);
    let port = |name, address: Option<SocketAddr>, what: &str| {
        address.map(|address| row(name, &format_args!("{address}, {what}")))
    };
    let page = match config.web.playground {
        true => "gRPC-Web and the playground",
        false => "gRPC-Web",
    };
    [
        name,
        row("gRPC", &format_args!("{}, {transport}", addresses.grpc)),
        port("web", addresses.web, page).unwrap_or_default(),
        port("admin", addresses.admin, "probes").unwrap_or_default(),
        row("upstream", &upstream),
        row("key", &key),
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
        let addresses = Addresses {
            grpc: "[::1]:7".parse().unwrap(),
            admin: None,
            web: Some("[::1]:8".parse().unwrap()),
        };
        let screen = screen(&config, &addresses);
        for part in [
            "[::1]:7, plaintext",
            "[::1]:8, gRPC-Web\n",
            "http://vllm:8000/v1",
            " health\n",
            env!("CARGO_PKG_VERSION"),
        ] {
            assert!(screen.contains(part), "{screen}");
        }
    }
}
