use super::*;

fn caller(name: &str, key: &str) -> config::Caller {
    config::Caller {
        name: name.to_owned(),
        key_sha256: Some(config::sha256(key.as_bytes())),
        client_id: None,
        models: None,
        max_in_flight: None,
        requests_per_minute: None,
        caller_chosen: false,
    }
}

fn access(callers: &[config::Caller]) -> Access {
    let access = Access::default();
    access.replace(callers);
    access
}

fn headers(authorization: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in authorization {
        headers.append(AUTHORIZATION, value.parse().unwrap());
    }
    headers
}

#[track_caller]
fn check(access: &Access, authorization: &[&str], expected: Result<Option<&str>, Denied>) {
    let identity = access.identify(&headers(authorization), &[]);
    let got = identity.check().map(|()| identity.name());
    assert_eq!(got, expected, "{authorization:?}");
}

#[test]
fn a_caller_is_known_by_exactly_one_bearer_key() {
    check(&access(&[]), &[], Ok(None));
    check(&access(&[]), &["Basic x"], Ok(None));
    let access = access(&[caller("one", "key-1"), caller("two", "key-2")]);
    for (authorization, expected) in [
        (&["Bearer key-1"][..], Ok(Some("one"))),
        (&["bearer key-2"], Ok(Some("two"))),
        (&["BEARER  key-2 "], Ok(Some("two"))),
        (&[], Err(Denied::NoKey)),
        (&["Bearer key-3"], Err(Denied::WrongKey)),
        (&["Bearer key-1", "Bearer key-1"], Err(Denied::WrongKey)),
        (&["Bearer key-1, Bearer key-1"], Err(Denied::WrongKey)),
        (&["Bearer "], Err(Denied::WrongKey)),
        (&["Bearer"], Err(Denied::WrongKey)),
        (&[""], Err(Denied::WrongKey)),
        (&["Bearerkey-1"], Err(Denied::WrongKey)),
        (&["key-1"], Err(Denied::WrongKey)),
        (&["Basic key-1"], Err(Denied::WrongKey)),
        (&["Bearer\tkey-1"], Err(Denied::WrongKey)),
    ] {
        check(&access, authorization, expected);
    }
}

#[test]
fn a_certificate_tells_a_caller_that_sends_no_key() {
    let by_name = |name: &str, id: &str| config::Caller {
        key_sha256: None,
        client_id: Some(id.to_owned()),
        ..caller(name, "")
    };
    let access = access(&[
        by_name("one", "spiffe://org/ns/a/sa/b"),
        by_name("rest", "spiffe://org/ns/a/*"),
        caller("key", "key"),
    ]);
    for (authorization, id, expected) in [
        (&[][..], "spiffe://org/ns/a/sa/b", Ok(Some("one"))),
        (&[], "spiffe://org/ns/a/sa/c", Ok(Some("rest"))),
        (&[], "spiffe://org/ns/b/sa/b", Err(Denied::NoKey)),
        (&["Bearer key"], "spiffe://org/ns/a/sa/b", Ok(Some("key"))),
        (
            &["Bearer wrong"],
            "spiffe://org/ns/a/sa/b",
            Err(Denied::WrongKey),
        ),
    ] {
        let identity = access.identify(&headers(authorization), &[id.to_owned()]);
        let got = identity.check().map(|()| identity.name());
        assert_eq!(got, expected, "{authorization:?} {id}");
    }
}

#[test]
fn a_pattern_is_exact_or_ends_in_a_slash_and_a_star() {
    for (pattern, name, is_match) in [
        ("spiffe://org/ns/a/sa/b", "spiffe://org/ns/a/sa/b", true),
        ("spiffe://org/ns/a/*", "spiffe://org/ns/a/sa/b", true),
        ("spiffe://org/ns/a/*", "spiffe://org/ns/a/", false),
        ("spiffe://org/ns/a/*", "spiffe://org/ns/ab", false),
        ("spiffe://org/ns/a*", "spiffe://org/ns/ab", false),
        ("caller.example", "caller.example", true),
        ("*.example", "caller.example", false),
        ("", "", true),
    ] {
        assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
    }
}

#[test]
fn limits_hold_for_one_caller_and_over_a_reload() {
    let limited = |max_in_flight, requests_per_minute| config::Caller {
        max_in_flight: Some(max_in_flight),
        requests_per_minute: Some(requests_per_minute),
        ..caller("one", "key-1")
    };
    let access = access(&[limited(1, 3), caller("two", "key-2")]);
    let begin = |key: &str| access.identify(&headers(&[key]), &[]).begin();
    let running = begin("Bearer key-1").unwrap();
    assert!(matches!(begin("Bearer key-1"), Err(Denied::Concurrency)));
    assert!(matches!(begin("Bearer key-2"), Ok(None)));
    access.replace(&[limited(1, 3)]);
    assert!(matches!(begin("Bearer key-1"), Err(Denied::Concurrency)));
    assert!(matches!(begin("Bearer key-2"), Err(Denied::WrongKey)));
    drop(running);
    // A call that was refused for another reason is not counted.
    assert!(begin("Bearer key-1").is_ok());
    assert!(begin("Bearer key-1").is_ok());
    let Err(Denied::Rate(wait)) = begin("Bearer key-1") else {
        panic!("the fourth call of three a minute")
    };
    assert!(wait <= Duration::from_secs(20), "{wait:?}");
    access.replace(&[limited(1, 4)]);
    assert!(begin("Bearer key-1").is_ok());
}

#[test]
fn without_its_last_caller_nobody_may_call() {
    let access = access(&[caller("one", "key-1")]);
    access.replace(&[]);
    check(&access, &[], Err(Denied::NoKey));
    check(&access, &["Bearer key-1"], Err(Denied::WrongKey));
}

#[test]
fn a_forwarded_key_is_passed_on_as_it_came() {
    let access = Access {
        forwards: true,
        ..Access::default()
    };
    let identity = access.identify(&headers(&["bearer  any"]), &[]);
    let header = identity.forwarded().unwrap();
    assert_eq!(header, "bearer  any");
    assert!(header.is_sensitive());
    for (authorization, denied) in [
        (&[][..], Denied::NoKey),
        (&["Basic x"], Denied::WrongKey),
        (&["Bearer a", "Bearer b"], Denied::WrongKey),
    ] {
        check(&access, authorization, Err(denied));
    }
}
