//! The flags of the listener and its connections.

use std::time::Duration;

use clap::builder::{BoolishValueParser, TypedValueParser};

use super::Tls;
use super::value::{
    MEMORY, MESSAGE, OrOff, PADDING, bytes, count, duration, duration_or_zero, or_off,
};

pub(super) const SERVING: &str = "Serving";
pub(super) const SIZE_LIMITS: &str = "Size limits";
const TIME_LIMITS: &str = "Time limits";

/// Limits of the listener and its connections.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connections")]
pub struct Server {
    /// Do not serve reflection, by which grpcurl and similar tools read the contract.
    #[arg(long = "no-reflection", action = clap::ArgAction::SetTrue)]
    #[arg(help_heading = SERVING)]
    #[arg(value_parser = BoolishValueParser::new().map(|is_off| !is_off))]
    pub reflection: bool,
    /// Time after SIGTERM, SIGINT or SIGQUIT in which new connections are still served.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = duration_or_zero, help_heading = SERVING)]
    pub drain_delay: Duration,
    /// Time after the drain delay until running calls are ended; a second signal ends them at once.
    #[arg(long, value_name = "DURATION", default_value = "120s")]
    #[arg(value_parser = duration_or_zero, help_heading = SERVING)]
    pub drain_timeout: Duration,
    /// Time after which a caller that does not read its stream is disconnected, or `off`.
    #[arg(long, value_name = "DURATION", help_heading = TIME_LIMITS)]
    #[arg(default_value = "60s", value_parser = or_off(duration))]
    pub write_stall_timeout: OrOff<Duration>,
    /// Largest gRPC message that a caller may send.
    #[arg(long, value_name = "SIZE", default_value = "32MiB")]
    #[arg(value_parser = bytes::<MESSAGE>, help_heading = SIZE_LIMITS)]
    pub max_request_bytes: usize,
    /// Largest gRPC message that a caller is sent.
    #[arg(long, value_name = "SIZE", default_value = "32MiB")]
    #[arg(value_parser = bytes::<MESSAGE>, help_heading = SIZE_LIMITS)]
    pub max_response_bytes: usize,
    /// Memory that the messages of all requests may hold at once; further requests are refused.
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    #[arg(value_parser = bytes::<MEMORY>, help_heading = SIZE_LIMITS)]
    pub max_request_memory: usize,
    /// Size up to which smaller responses are padded, at most 64KiB, or `off`. Only callers that pause for
    /// thousands of tokens need it, where they or a proxy use Rust's h2.
    #[arg(long, value_name = "SIZE", default_value = "off")]
    #[arg(value_parser = or_off(bytes::<PADDING>), help_heading = SIZE_LIMITS)]
    pub pad_responses: OrOff<usize>,
    /// Connections open at once; further ones are closed.
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    #[arg(value_parser = count::<usize>)]
    pub max_connections: usize,
    /// Connections open at once from one address, or `off`. All callers behind one proxy have its address.
    #[arg(long, value_name = "COUNT", default_value = "off")]
    #[arg(value_parser = or_off(count::<usize>))]
    pub max_connections_per_source: OrOff<usize>,
    /// Calls open at once on one connection.
    #[arg(long, value_name = "COUNT", default_value = "256")]
    #[arg(value_parser = count::<u32>)]
    pub max_streams_per_connection: u32,
    /// Calls running at once on all connections, or `off`; further ones are refused.
    #[arg(long, value_name = "COUNT", default_value = "off")]
    #[arg(value_parser = or_off(count::<usize>))]
    pub max_in_flight: OrOff<usize>,
    /// Time between HTTP/2 pings, which find dead connections, or `off`.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    #[arg(value_parser = or_off(duration))]
    pub keepalive_interval: OrOff<Duration>,
    /// Time that a caller has to answer a ping.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    #[arg(value_parser = duration)]
    pub keepalive_timeout: Duration,
    /// Time without calls after which a connection is closed, or `off`.
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    #[arg(value_parser = or_off(duration))]
    pub max_connection_idle: OrOff<Duration>,
    /// Age, ±10 %, at which a connection is closed for new calls, or `off`. Callers then connect anew, which spreads
    /// the load.
    #[arg(long, value_name = "DURATION", default_value = "off")]
    #[arg(value_parser = or_off(duration))]
    pub max_connection_age: OrOff<Duration>,
    /// Time after that until the connection's running calls are ended; `off` waits for them.
    #[arg(long, value_name = "DURATION", default_value = "120s")]
    #[arg(value_parser = or_off(duration))]
    pub max_connection_age_grace: OrOff<Duration>,
    #[command(flatten)]
    pub tls: Tls,
}
