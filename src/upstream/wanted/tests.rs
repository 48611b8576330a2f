use super::*;

/// What the operator allows in this table.
const ALLOWED: [&str; 3] = [
    "http://my-server:8001",
    "https://gateway.example",
    "http://10.0.0.7:8000",
];

fn allows(text: &str) -> bool {
    let origins = ALLOWED.iter().map(|it| (*it).to_owned()).collect();
    foreign_url(text.as_bytes(), &origins).is_some()
}

#[test]
fn an_allowed_origin_may_be_written_in_any_way_that_means_it() {
    for text in [
        "http://my-server:8001",
        "http://my-server:8001/",
        "http://my-server:8001/v1",
        "http://my-server:8001/v1/",
        "http://my-server:8001/a/b/v1",
        "http://my-server:8001/a/../v1",
        "http://my-server:08001/v1",
        "HTTP://MY-SERVER:8001/v1",
        "http://My-Server:8001/v1",
        "http://m%79-server:8001/v1",
        "https://gateway.example/v1",
        "https://gateway.example:443/v1",
        "https://GATEWAY.EXAMPLE/v1",
        "http://10.0.0.7:8000/v1",
        // The same address, which is what is compared and connected to.
        "http://10.0.7:8000/v1",
        "http://10.7:8000/v1",
        "http://0xa.0.0.7:8000/v1",
        "http://012.0.0.7:8000/v1",
        "http://167772167:8000/v1",
        "http://0x0a000007:8000/v1",
        "http://10.0.0.7.:8000/v1",
    ] {
        assert!(allows(text), "{text}");
    }
}

#[test]
fn what_is_compared_is_what_is_connected_to() {
    let origins = ALLOWED.iter().map(|it| (*it).to_owned()).collect();
    let url = foreign_url(b"http://0x0a000007:8000/a/../v1/", &origins).unwrap();
    assert_eq!(url.as_str(), "http://10.0.0.7:8000/v1");
}

/// Hosts that are none of the allowed ones, and that attacks use.
const HOSTS: [&str; 46] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "0x7f000001",
    "0x7f.0.0.1",
    "2130706433",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST.",
    "localhost.localdomain",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[::ffff:10.0.0.7]",
    "[::10.0.0.7]",
    "[64:ff9b::a00:7]",
    "[64:ff9b::169.254.169.254]",
    "[2002:a00:7::]",
    "[2002:7f00:1::]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fc00::1]",
    "[ff02::1]",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.43518",
    "metadata.google.internal",
    "100.64.0.1",
    "192.168.0.1",
    "172.16.0.1",
    "224.0.0.1",
    "10.0.0.8",
    "my-server.",
    "my-server.evil.example",
    "evil-my-server",
    "gateway.example.",
    "xn--gateway-example-.evil",
];

/// Texts that are refused whatever host they seem to have.
const TEXTS: [&str; 71] = [
    "",
    " ",
    "/",
    "//",
    "v1",
    "my-server",
    "my-server:8001",
    "my-server:8001/v1",
    "//my-server:8001/v1",
    "http:",
    "http:/",
    "http://",
    "http:///",
    "http://:8001/v1",
    "http://?",
    "http://#",
    "http://my-server/v1",
    "http://my-server:80/v1",
    "http://my-server:8002/v1",
    "http://my-server:0/v1",
    "http://my-server:65536/v1",
    "http://my-server:-1/v1",
    "http://my-server:8001,evil.example/v1",
    "http://10.0.0.7:8000:80/v1",
    "http://[::ffff:my-server]:8001/v1",
    "http://my-server:/v1",
    "http://my-server:8001x/v1",
    "https://my-server:8001/v1",
    "http://gateway.example/v1",
    "http://gateway.example:443/v1",
    "https://gateway.example:80/v1",
    "https://gateway.example:8443/v1",
    "ftp://my-server:8001/v1",
    "file:///etc/passwd",
    "file://my-server:8001/v1",
    "gopher://my-server:8001/v1",
    "ws://my-server:8001/v1",
    "wss://gateway.example/v1",
    "unix:///var/run/docker.sock",
    "data:text/plain,x",
    "javascript:alert(1)",
    "blob:http://my-server:8001/v1",
    "view-source:http://my-server:8001/v1",
    "jar:http://my-server:8001!/v1",
    "http://my-server:8001/v1?x=y",
    "http://my-server:8001?@evil.example/",
    "http://my-server:8001/v1?",
    "http://my-server:8001/v1#x",
    "http://my-server:8001#@evil.example/",
    "http://my-server:8001/v1#",
    "http://user@my-server:8001/v1",
    "http://user:pass@my-server:8001/v1",
    "http://:pass@my-server:8001/v1",
    "http://@my-server:8001/v1",
    "http://:@my-server:8001/v1",
    "http://my-server:8001@evil.example/v1",
    "http://my-server:8001%2f@evil.example/v1",
    "http://my-server:8001%40evil.example/v1",
    "http://evil.example%23@my-server:8001/v1",
    "http://my-server:8001\\@evil.example/v1",
    "http://evil.example\\@my-server:8001/v1",
    "http:\\\\my-server:8001\\v1",
    "http:/\\my-server:8001/v1",
    "http://my-\tserver:8001/v1",
    "http://my-server:8001/\r\nhost: evil.example",
    " http://my-server:8001/v1",
    "http://my-server:8001/v1 ",
    "http://my-server\u{0}:8001/v1",
    "http://my\u{2010}server:8001/v1",
    "http://\u{ff4d}y-server:8001/v1",
    "http://my-server:8001/v1\u{7f}",
];

#[test]
fn every_other_url_is_refused() {
    let mut n = 0;
    let mut refused = |text: &str| {
        assert!(!allows(text), "{text:?}");
        n += 1;
    };
    for text in TEXTS {
        refused(text);
    }
    for host in HOSTS {
        for url in [
            format!("http://{host}/v1"),
            format!("http://{host}:8001/v1"),
            format!("http://{host}:8001/my-server:8001/v1"),
            format!("https://{host}/v1"),
            format!("http://my-server:8001@{host}/v1"),
        ] {
            refused(&url);
        }
    }
    refused(&format!("http://my-server:8001/{}", "a".repeat(3000)));
    assert!(n >= 300, "{n}");
}

#[test]
fn a_key_needs_its_url_and_fits_a_header() {
    let wanted = |pairs: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        Wanted::of(&headers, Identity::default())
    };
    let url = ("adapter-upstream-url", "http://x");
    let with_key = |key| wanted(&[url, ("adapter-upstream-key", key)]);
    let bearer = with_key("canary").authorization().unwrap().unwrap();
    assert_eq!(bearer, "Bearer canary");
    assert!(!format!("{bearer:?}").contains("canary"));
    assert!(with_key("a b").authorization().is_err());
    let alone = wanted(&[("adapter-upstream-key", "k")]);
    assert!(alone.authorization().is_err());
    let long = wanted(&[("adapter-session", &"s".repeat(129))]);
    assert!(long.session().is_err());
}
