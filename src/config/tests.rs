use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use clap::{CommandFactory, FromArgMatches, builder::Resettable};
use secrecy::ExposeSecret;

use super::*;

/// The flags without the variables of the environment that the tests run in.
fn command() -> clap::Command {
    Args::command().mut_args(|arg| arg.env(Resettable::Reset))
}

fn args(command: clap::Command, arguments: &[&str]) -> Args {
    let arguments = std::iter::once(&"vllm-grpc-adapter").chain(arguments);
    let matches = command.try_get_matches_from(arguments).unwrap();
    Args::from_arg_matches(&matches).unwrap()
}

fn config(arguments: &[&str]) -> Result<Config, Vec<String>> {
    Config::try_from_args(args(command(), arguments)).map_err(|faults| faults.0)
}

#[track_caller]
fn check_fault(arguments: &[&str], fault: &str) {
    let faults = config(arguments).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains(fault), "{faults:?}");
}

/// The flags with the defaults that a `.env` file of this text gives them.
fn with_dotenv(test: &str, text: &str) -> Result<clap::Command, String> {
    let path = std::env::temp_dir().join(format!("{test}-{}.env", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let values = dotenv::read(&path);
    std::fs::remove_file(&path).unwrap();
    let command = dotenv::apply(Args::command(), &values?);
    Ok(command.mut_args(|arg| arg.env(Resettable::Reset)))
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
    assert_eq!(config.upstream.connect_timeout, seconds(2));
    assert_eq!(config.upstream.idle_timeout, seconds(3));
    assert_eq!(config.upstream.max_event_bytes, 1 << 20);
    assert_eq!(config.upstream.max_body_bytes, 32 << 20);
    assert_eq!(config.limits.first_token, None);
    assert_eq!(config.limits.token_idle, Some(seconds(60)));
    assert_eq!(config.limits.max_duration, None);
    let server = config.server;
    assert_eq!(server.max_request_bytes, 32 << 20);
    assert_eq!(server.max_response_bytes, 32 << 20);
    assert_eq!(server.max_connections, 10_000);
    assert_eq!(server.max_connections_per_source, None);
    assert_eq!(server.max_streams_per_connection, 256);
    assert_eq!(server.keepalive_interval, Some(seconds(30)));
    assert_eq!(server.keepalive_timeout, seconds(10));
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
fn every_fault_is_told_at_once() {
    let faults = config(&[
        "--listen=nowhere",
        "--upstream=ftp://host",
        "--connect-timeout=0s",
        "--first-token-timeout=0s",
        "--drain-timeout=2",
        "--max-connections=0",
        "--max-streams-per-connection=-1",
        "--max-request-bytes=3GiB",
        "--log=a=b=c",
        "--allow-extensions=*",
        "--allow-extra-body=chat_template,*",
        "--allow-media-hosts=media.example,https://media.example",
    ])
    .unwrap_err();
    let flags = faults.iter().map(|fault| fault.split(':').next().unwrap());
    let flags: BTreeSet<&str> = flags.collect();
    let expected = [
        "--allow-extensions",
        "--allow-extra-body",
        "--allow-media-hosts",
        "--connect-timeout",
        "--drain-timeout",
        "--first-token-timeout",
        "--listen",
        "--log",
        "--max-connections",
        "--max-request-bytes",
        "--max-streams-per-connection",
        "--upstream",
    ];
    assert_eq!(flags, BTreeSet::from(expected));
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn a_limit_lets_the_lightest_response_through() {
    check_fault(&["--max-response-bytes=255"], "--max-response-bytes");
    assert!(config(&["--max-response-bytes=256"]).is_ok());
}

#[test]
fn every_fault_of_a_list_is_told() {
    let faults = config(&["--allow-extra-body=*, chat_template,model"]).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    for (fault, name) in faults.iter().zip(["`*`", "\"model\""]) {
        assert!(fault.starts_with("--allow-extra-body: "), "{fault}");
        assert!(fault.contains(name), "{fault}");
    }
}

#[test]
fn a_switch_takes_a_value_from_its_variable_alone() {
    let switched = |value: Option<&'static str>, arguments: &[&str]| {
        // What `.env` gives is read as what the environment gives.
        let command = command().mut_arg("log_json", |arg| match value {
            Some(value) => arg.default_value(value),
            None => arg,
        });
        let config = Config::try_from_args(args(command, arguments));
        config
            .map(|config| config.log.json)
            .map_err(|faults| faults.0)
    };
    for (value, arguments, expected) in [
        (None, &[][..], false),
        (None, &["--log-json"], true),
        (Some("1"), &[], true),
        (Some("Yes"), &[], true),
        (Some("off"), &[], false),
        (Some("off"), &["--log-json"], true),
        (Some("maybe"), &["--log-json"], true),
    ] {
        assert_eq!(switched(value, arguments), Ok(expected), "{value:?}");
    }
    for value in ["maybe", ""] {
        let faults = switched(Some(value), &["--connect-timeout=2"]).unwrap_err();
        let has = |start: &str| faults.iter().any(|fault| fault.starts_with(start));
        let fault = format!("--log-json: {value:?}");
        assert!(has(&fault) && has("--connect-timeout: \"2\""), "{faults:?}");
    }
    let given = command().try_get_matches_from(["vllm-grpc-adapter", "--log-json=1"]);
    assert!(given.is_err());
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
    let faults = config(&["--upstream=http://user:canary@host/v1"]).unwrap_err();
    assert!(!faults.concat().contains("canary"), "{faults:?}");
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
    let args = args(command(), &["--upstream-api-key=canary"]);
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
        let args = args(command(), &arguments);
        assert!(matches!(args.command, Some(Command::Demo)));
        assert!(Config::try_from_args(args).unwrap().log.json);
    }
}

#[test]
fn a_dotenv_file_gives_what_the_flags_do_not() {
    let command = with_dotenv(
        "values",
        "# a comment\n\
         ADAPTER_LISTEN=0.0.0.0:1\n\
         export ADAPTER_DRAIN_DELAY='7s'\n\
         ADAPTER_DRAIN_TIMEOUT=8s\n\
         ADAPTER_ALLOW_EXTRA_BODY=a,b\n\
         ADAPTER_NO_REFLECTION=1\n\
         OPENAI_API_KEY=canary\n\
         SOMETHING_ELSE=x\n",
    )
    .unwrap();
    let help = command.clone().render_long_help().to_string();
    assert!(!help.contains("canary"), "{help}");

    let args = args(command, &["--drain-timeout=9s"]);
    let config = Config::try_from_args(args).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:1");
    assert_eq!(config.server.drain_delay, Duration::from_secs(7));
    assert_eq!(config.server.drain_timeout, Duration::from_secs(9));
    assert_eq!(config.policy.extra_body_keys.len(), 2);
    assert!(!config.server.reflection);
    let key = config.upstream.api_key.unwrap();
    assert_eq!(key.expose_secret(), "canary");
}

#[test]
fn a_dotenv_file_need_not_be_there() {
    let values = dotenv::read(Path::new("/no/such/.env"));
    assert_eq!(values, Ok(BTreeMap::new()));
}

#[test]
fn a_dotenv_file_that_cannot_be_read_is_told_without_its_text() {
    let fault = with_dotenv("unreadable", "OPENAI_API_KEY='canary").unwrap_err();
    assert!(fault.contains("unreadable"), "{fault}");
    assert!(!fault.contains("canary"), "{fault}");
}

#[test]
fn a_fault_of_a_dotenv_file_names_its_line() {
    for (text, line) in [
        ("OPENAI_API_KEY='canary", 1),
        (
            "A=1\n# a comment\n\nB='2'\nOPENAI_API_KEY=can ary\nC=3\n",
            5,
        ),
        ("A=\"1\n2\"\nOPENAI_API_KEY='canary\nB=2\n", 3),
        ("A='1'\r\nno assignment\r\n", 2),
    ] {
        let fault = with_dotenv("line", text).unwrap_err();
        assert!(fault.contains(&format!("line {line} ")), "{text}: {fault}");
        assert!(!fault.contains("canary"), "{fault}");
    }
}
