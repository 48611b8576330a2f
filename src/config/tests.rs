use std::collections::BTreeSet;

use clap::{FromArgMatches, builder::Resettable};
use secrecy::ExposeSecret;

use super::*;

/// What clap reads from the command line alone, without the variables of the environment that the tests run in.
fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
    let command = args::command().mut_args(|arg| arg.env(Resettable::Reset));
    let arguments = std::iter::once(&"vllm-grpc-adapter").chain(arguments);
    Args::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

fn config(arguments: &[&str]) -> Result<Config, Vec<String>> {
    Config::try_from_args(parse(arguments).unwrap()).map_err(|faults| faults.0)
}

#[track_caller]
fn check_fault(arguments: &[&str], fault: &str) {
    let faults = config(arguments).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(fault), "{faults:?}");
}

#[test]
fn without_arguments_the_defaults_are_the_documented_ones() {
    let config = config(&[]).unwrap();
    let seconds = Duration::from_secs;
    assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(
        config.upstream.base_url.as_str(),
        "http://localhost:8000/v1"
    );
    assert!(config.upstream.api_key.is_none());
    assert_eq!(config.upstream.api_key_source, "none");
    assert_eq!(config.upstream.connect_timeout, seconds(2));
    assert_eq!(config.upstream.idle_timeout, seconds(3));
    assert_eq!(config.upstream.max_event_bytes, 8 << 20);
    assert_eq!(config.upstream.max_body_bytes, 32 << 20);
    assert_eq!(config.limits.first_token, None);
    assert_eq!(config.limits.token_idle, Some(seconds(60)));
    assert_eq!(config.limits.max_duration, None);
    let server = config.server;
    assert_eq!(server.max_request_bytes, 32 << 20);
    assert_eq!(server.max_response_bytes, 32 << 20);
    assert_eq!(server.max_request_memory, 512 << 20);
    assert_eq!(server.pad_responses, None);
    assert_eq!(server.max_connections, 10_000);
    assert_eq!(server.max_connections_per_source, None);
    assert_eq!(server.max_streams_per_connection, 256);
    assert_eq!(server.max_in_flight, None);
    assert_eq!(server.keepalive_interval, Some(seconds(30)));
    assert_eq!(server.keepalive_timeout, seconds(10));
    assert_eq!(server.max_connection_idle, Some(seconds(15 * 60)));
    assert_eq!(server.max_connection_age, None);
    assert_eq!(server.max_connection_age_grace, Some(seconds(120)));
    assert_eq!(server.write_stall_timeout, Some(seconds(60)));
    assert_eq!(server.drain_delay, seconds(5));
    assert_eq!(server.drain_timeout, seconds(120));
    assert!(server.reflection);
    assert_eq!(config.policy.default_model, None);
    assert_eq!(config.log.filter, "info");
    assert!(!config.log.json);
}

#[test]
fn a_value_that_cannot_be_parsed_is_reported_with_its_flag() {
    for (argument, why) in [
        ("--listen=localhost", "ADDRESS:PORT"),
        ("--connect-timeout=0s", "above zero"),
        ("--connect-timeout=2", "unit"),
        ("--first-token-timeout=0s", "`off`"),
        ("--drain-timeout=2", "unit"),
        ("--max-connections=0", "from 1"),
        ("--max-connections-per-source=none", "`off`"),
        ("--max-streams-per-connection=-1", "from 1"),
        ("--max-in-flight=0", "`off`"),
        ("--max-connection-idle=15", "`off`"),
        ("--max-request-bytes=3GiB", "2.0 GiB"),
        ("--max-request-memory=0", "1.0 TiB"),
        ("--max-request-memory=off", "size"),
        ("--max-event-bytes=lots", "size"),
        ("--pad-responses=65KiB", "64.0 KiB, or `off`"),
    ] {
        let error = parse(&[argument]).unwrap_err().to_string();
        let (flag, value) = argument.split_once('=').unwrap();
        assert!(error.contains(flag) && error.contains(value), "{error}");
        assert!(error.contains(why), "{argument}: {error}");
    }
}

#[test]
fn limits_take_their_values() {
    let server = config(&[
        "--pad-responses=256",
        "--max-in-flight=50",
        "--max-request-memory=2GiB",
        "--max-connection-idle=off",
    ]);
    let server = server.unwrap().server;
    assert_eq!(server.pad_responses, Some(256));
    assert_eq!(server.max_in_flight, Some(50));
    assert_eq!(server.max_request_memory, 2 << 30);
    assert_eq!(server.max_connection_idle, None);
}

#[test]
fn all_faults_of_meaning_are_reported_at_once() {
    let faults = config(&[
        "--upstream=ftp://host",
        "--upstream-api-key=a\u{7}b",
        "--log=a=b=c",
        "--allow-extensions=*",
        "--allow-extra-body=chat_template,*",
        "--allow-media-hosts=media.example,https://media.example",
        "--max-request-bytes=2MiB",
        "--max-request-memory=1MiB",
        "--max-response-bytes=1KiB",
        "--pad-responses=2KiB",
    ])
    .unwrap_err();
    let flags = faults.iter().map(|fault| fault.split(':').next().unwrap());
    let flags: BTreeSet<&str> = flags.collect();
    let expected = [
        "--allow-extensions",
        "--allow-extra-body",
        "--allow-media-hosts",
        "--log",
        "--max-request-memory",
        "--pad-responses",
        "--upstream",
        "--upstream-api-key",
    ];
    assert_eq!(flags, BTreeSet::from(expected));
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn limits_may_be_equal() {
    let equal = [
        "--max-request-bytes=1MiB",
        "--max-request-memory=4MiB",
        "--max-response-bytes=1KiB",
        "--pad-responses=1KiB",
    ];
    assert!(config(&equal).is_ok());
}

#[test]
fn every_fault_of_a_list_is_reported() {
    let faults = config(&["--allow-extra-body=*, chat_template,model"]).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    for (fault, name) in faults.iter().zip(["`*`", "\"model\""]) {
        assert!(fault.starts_with("--allow-extra-body: "), "{fault}");
        assert!(fault.contains(name), "{fault}");
    }
}

#[test]
fn a_base_url_is_taken_as_the_openai_sdk_takes_it() {
    let taken = [
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("https://host/a/b/v1//", "https://host/a/b/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://host/models", "http://host/models"),
    ];
    for (text, url) in taken {
        let config = config(&["--upstream", text]).unwrap();
        assert_eq!(config.upstream.base_url.as_str(), url, "{text}");
    }
    check_fault(&["--upstream=host:8000"], "http or https");
    check_fault(&["--upstream=/v1"], "not a base URL");
    check_fault(&["--upstream=http://host/v1?a=b"], "query");
    for text in [
        "http://a/v1,http://b/v1",
        "a:1,b:2",
        "http://user:canary@a,b/",
    ] {
        check_fault(&["--upstream", text], "several upstreams need a file");
    }
    check_fault(&["--upstream=http://user:word@host/v1"], "OPENAI_API_KEY");
}

#[test]
fn the_url_of_a_route_is_refused_with_the_base_url_that_is_meant() {
    for (text, base) in [
        (
            "http://host:8000/v1/chat/completions",
            "http://host:8000/v1",
        ),
        ("http://host/v1/completions/", "http://host/v1"),
        ("https://host/a/v1/embeddings", "https://host/a/v1"),
        ("http://host/v1/models", "http://host/v1"),
        ("http://host/a/chat/completions", "http://host/a"),
    ] {
        let fault = format!("--upstream: the URL of a route; the base URL is {base}");
        assert_eq!(config(&["--upstream", text]).unwrap_err(), [fault]);
    }
}

#[test]
fn a_fault_in_a_url_does_not_print_the_key_in_it() {
    for host in ["host/v1", "host,other", "host:port"] {
        let url = format!("--upstream=http://user:canary@{host}");
        let faults = config(&[&url]).unwrap_err();
        assert!(!faults.concat().contains("canary"), "{faults:?}");
    }
}

#[test]
fn an_empty_key_counts_as_none() {
    let key = |text: &str| {
        let flag = format!("--upstream-api-key={text}");
        let config = config(&[&flag])?;
        let key = config.upstream.api_key;
        Ok::<_, Vec<String>>(key.map(|key| key.expose_secret().to_owned()))
    };
    assert_eq!(key(""), Ok(None));
    assert_eq!(key("  "), Ok(None));
    assert_eq!(key(" abc\n"), Ok(Some("abc".to_owned())));
    assert!(key("a\u{7}b").is_err_and(|faults| !faults.concat().contains('\u{7}')));
}

#[test]
fn a_key_is_in_no_debug_output() {
    let args = parse(&["--upstream-api-key=canary"]).unwrap();
    assert!(!format!("{args:?}").contains("canary"));
    let config = Config::try_from_args(args).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn lists_are_separated_by_commas() {
    let config = config(&[
        "--allow-extra-body=chat_template, priority,,",
        "--allow-media-hosts=Example.ORG",
        "--allow-extensions=",
    ])
    .unwrap();
    let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&config.policy.extra_body_keys),
        ["chat_template", "priority"]
    );
    assert_eq!(names(&config.policy.media_hosts), ["example.org"]);
    assert!(config.policy.extension_keys.is_empty());
}

#[test]
fn flags_may_stand_before_and_after_the_command() {
    for arguments in [["--log-json", "demo"], ["demo", "--log-json"]] {
        let args = parse(&arguments).unwrap();
        assert!(matches!(args.command, Some(Command::Demo)));
        assert!(Config::try_from_args(args).unwrap().log.json);
    }
}
