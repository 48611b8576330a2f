//! What the flags mean, value by value; every fault is kept, so that all are told at once.

use super::Args;
use crate::config::{
    Config, Faults, Limits, Log, Policy, Server, Upstream, base_url, collector::Collector, value,
};

/// What the arguments mean, or all that is wrong with them.
pub(in crate::config) fn check(args: Args) -> Result<Config, Faults> {
    let mut faults = Collector::default();
    for variable in &args.misnamed {
        faults.tell(format!(".env: {variable}"));
    }
    let listen = faults.keep("listen", value::address(&args.listen));
    let upstream = upstream(&args, &mut faults);
    let limits = limits(&args, &mut faults);
    let log = log(&args, &mut faults);
    let server = server(&args, &mut faults);
    let policy = policy(args, &mut faults);
    let whole = move || {
        Some(Config {
            listen: listen?,
            server: server?,
            upstream: upstream?,
            limits: limits?,
            policy: policy?,
            log: log?,
        })
    };
    let whole = whole();
    faults.finish(whole)
}

fn log(args: &Args, faults: &mut Collector) -> Option<Log> {
    let filter = faults.keep("log", value::filter(&args.log));
    let json = faults.keep("log-json", value::switch(&args.log_json));
    Some(Log {
        filter: filter?,
        json: json?,
    })
}

fn policy(args: Args, faults: &mut Collector) -> Option<Policy> {
    let max_audio_bytes = faults.keep("max-audio-bytes", value::bytes(&args.max_audio_bytes));
    let extra_body_keys = faults.keep_each(
        "allow-extra-body",
        &args.allow_extra_body,
        value::extra_body_key,
    );
    let extension_keys = faults.keep_each("allow-extensions", &args.allow_extensions, value::key);
    let media_hosts = faults.keep_each("allow-media-hosts", &args.allow_media_hosts, value::host);
    Some(Policy {
        max_audio_bytes: max_audio_bytes?,
        default_model: args.default_model.filter(|model| !model.is_empty()),
        extra_body_keys: extra_body_keys?,
        extension_keys: extension_keys?,
        media_hosts: media_hosts?,
    })
}

fn server(args: &Args, faults: &mut Collector) -> Option<Server> {
    let max_request_bytes = faults.keep("max-request-bytes", value::bytes(&args.max_request_bytes));
    let max_response_bytes = value::response_bytes(&args.max_response_bytes);
    let max_response_bytes = faults.keep("max-response-bytes", max_response_bytes);
    let max_connections = faults.keep("max-connections", value::count(&args.max_connections));
    let max_per_source = value::count_or_off(&args.max_connections_per_source);
    let max_per_source = faults.keep("max-connections-per-source", max_per_source);
    let max_streams = value::count(&args.max_streams_per_connection);
    let max_streams = faults.keep("max-streams-per-connection", max_streams);
    let keepalive_interval = faults.keep(
        "keepalive-interval",
        value::duration_or_off(&args.keepalive_interval),
    );
    let keepalive_timeout = faults.keep(
        "keepalive-timeout",
        value::duration(&args.keepalive_timeout),
    );
    let age = faults.keep(
        "max-connection-age",
        value::duration_or_off(&args.max_connection_age),
    );
    let grace = faults.keep(
        "max-connection-age-grace",
        value::duration_or_off(&args.max_connection_age_grace),
    );
    let stall = faults.keep(
        "write-stall-timeout",
        value::duration_or_off(&args.write_stall_timeout),
    );
    let drain_delay = faults.keep("drain-delay", value::duration_or_zero(&args.drain_delay));
    let drain_timeout = faults.keep(
        "drain-timeout",
        value::duration_or_zero(&args.drain_timeout),
    );
    let no_reflection = faults.keep("no-reflection", value::switch(&args.no_reflection));
    Some(Server {
        max_request_bytes: max_request_bytes?,
        max_response_bytes: max_response_bytes?,
        max_connections: max_connections?,
        max_connections_per_source: max_per_source?,
        max_streams_per_connection: max_streams?,
        keepalive_interval: keepalive_interval?,
        keepalive_timeout: keepalive_timeout?,
        max_connection_age: age?,
        max_connection_age_grace: grace?,
        write_stall_timeout: stall?,
        drain_delay: drain_delay?,
        drain_timeout: drain_timeout?,
        reflection: !no_reflection?,
        pad_responses: None,
        max_in_flight: None,
        max_request_memory: 512 << 20,
        max_connection_idle: Some(std::time::Duration::from_secs(900)),
    })
}

fn upstream(args: &Args, faults: &mut Collector) -> Option<Upstream> {
    let base_url = faults.keep("upstream", base_url::read(&args.upstream));
    let api_key = faults.keep("upstream-api-key", value::api_key(args.api_key.clone()));
    let connect_timeout = faults.keep("connect-timeout", value::duration(&args.connect_timeout));
    let idle_timeout = faults.keep(
        "upstream-idle-timeout",
        value::duration(&args.upstream_idle_timeout),
    );
    let max_event_bytes = faults.keep("max-event-bytes", value::bytes(&args.max_event_bytes));
    let max_body_bytes = faults.keep("max-body-bytes", value::bytes(&args.max_body_bytes));
    Some(Upstream {
        base_url: base_url?,
        api_key: api_key?,
        connect_timeout: connect_timeout?,
        idle_timeout: idle_timeout?,
        max_event_bytes: max_event_bytes?,
        max_body_bytes: max_body_bytes?,
    })
}

fn limits(args: &Args, faults: &mut Collector) -> Option<Limits> {
    let first_token = faults.keep(
        "first-token-timeout",
        value::duration_or_off(&args.first_token_timeout),
    );
    let token_idle = faults.keep(
        "token-idle-timeout",
        value::duration_or_off(&args.token_idle_timeout),
    );
    let max_duration = faults.keep("max-duration", value::duration_or_off(&args.max_duration));
    Some(Limits {
        first_token: first_token?,
        token_idle: token_idle?,
        max_duration: max_duration?,
    })
}
