//! The flags of the web port.

use std::net::SocketAddr;

use clap::builder::BoolishValueParser;
use url::Url;

use super::value::address;

/// The web port: gRPC-Web for browsers, and the playground.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Web")]
pub struct Web {
    /// Address and port to serve gRPC-Web on, over HTTP/1.1 and HTTP/2. Unset: it is not served; the demo takes
    /// 127.0.0.1:8080, or another port where that one is taken.
    #[arg(id = "web_listen", long = "web-listen", value_name = "ADDRESS", value_parser = address)]
    pub listen: Option<SocketAddr>,
    /// Origins whose pages may call, as `https://chat.example.com`. A page of the web port's own origin always may.
    #[arg(id = "web_origins", long = "web-origins", value_name = "ORIGINS")]
    #[arg(value_delimiter = ',', value_parser = origin)]
    pub origins: Vec<String>,
    /// Serve a page at / of the web port that calls models. The demo always does.
    #[arg(long, value_parser = BoolishValueParser::new())]
    pub playground: bool,
}

/// An origin as browsers send it.
fn origin(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("not an origin: {error}"))?;
    let origin = url.origin().ascii_serialization();
    if !matches!(url.scheme(), "http" | "https") || origin != text || text.contains('*') {
        return Err(format!(
            "must be scheme, host and port alone, as https://chat.example.com; `{origin}` would be this URL's"
        ));
    }
    Ok(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (text, is_origin) in [
            ("https://chat.example.com", true),
            ("http://localhost:3000", true),
            ("http://[::1]:3000", true),
            ("https://chat.example.com/", false),
            ("https://chat.example.com:443", false),
            ("https://*.example.com", false),
            ("chat.example.com", false),
            ("file:///", false),
            ("*", false),
            ("null", false),
        ] {
            assert_eq!(origin(text).is_ok(), is_origin, "{text}");
        }
    }
}
