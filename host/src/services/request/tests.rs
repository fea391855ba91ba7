use super::*;

fn request(name: &str, value: &str) -> Request<Bytes> {
    let request = Request::post("http://a.example.com/p?secret=1").header(name, value);
    request.body(Bytes::from_static(b"12345")).expect("a request")
}

#[test]
fn end_to_end_headers_pass() {
    for (name, value) in [("accept", "*/*"), ("content-length", "5"), ("cookie", "a=b")] {
        assert_eq!(check(&request(name, value)), Ok(()), "{name}: {value}");
    }
}

/// The line about removed headers, and the number of remaining ones.
fn cleaned(name: &str, value: &str) -> Result<(Option<String>, usize), HttpRequestError> {
    let mut request = request(name, value);
    let line = check_and_clean(&mut request, "POST …")?;
    Ok((line, request.headers().len()))
}

#[test]
fn headers_that_the_host_sets_are_removed() {
    for (name, value) in [
        ("connection", "keep-alive"),
        ("connection", "close, x-a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("trailer", "x-a"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "Chunked"),
        ("host", "a.example.com"),
        ("host", "A.Example.com:80"),
    ] {
        let line = format!("INFO: jobwright: POST …: dropped `{name}`, which the host sets\n");
        assert_eq!(cleaned(name, value), Ok((Some(line), 0)), "{name}: {value}");
    }
    assert_eq!(cleaned("x-a", "1"), Ok((None, 1)));
}

#[test]
fn headers_that_contradict_or_change_the_request_are_refused() {
    for name in REFUSED {
        let refused = check(&request(name.as_str(), "websocket"));
        assert_eq!(refused, Err(Fault::Header(name)));
    }
    for other in
        ["b.example.com", "a.example.com:81", "a.example.com/p", "u@b.example.com", "", "a b"]
    {
        let refused = check(&request("host", other));
        assert!(matches!(refused, Err(Fault::Host { .. })), "{other}: {refused:?}");
    }
    for coded in ["gzip", "gzip, chunked"] {
        let refused = check(&request("transfer-encoding", coded));
        assert_eq!(refused, Err(Fault::Coding(coded.to_owned())));
    }
    for wrong in ["4", "6", "+5", "05", "5, 5", ""] {
        let refused = check(&request("content-length", wrong));
        assert!(matches!(refused, Err(Fault::Length { .. })), "{wrong}");
    }
    let mut twice = request("content-length", "5");
    twice.headers_mut().append("content-length", header::HeaderValue::from_static("6"));
    assert!(matches!(check(&twice), Err(Fault::Length { .. })));
    let mut tunnel = request("a", "b");
    *tunnel.method_mut() = Method::CONNECT;
    assert!(matches!(check(&tunnel), Err(Fault::Tunnel(_))));
    let mut user = request("a", "b");
    *user.uri_mut() = "http://me:pw@a.example.com/".parse().expect("a URI");
    assert_eq!(check(&user), Err(Fault::User));
}

#[test]
fn an_invalid_port_is_refused() {
    let fault = |address: &str| {
        let request = Request::get(address).body(Bytes::new()).expect(address);
        check(&request).err()
    };
    for port in ["", ":80", ":0080", ":65535"] {
        assert_eq!(fault(&format!("http://127.0.0.1{port}/")), None, "{port}");
        assert_eq!(fault(&format!("http://[::1]{port}/")), None, "{port}");
    }
    for port in [":", ":65536", ":99999", ":abc", ":-1", ":+80", ":80,evil.com"] {
        assert_eq!(fault(&format!("http://127.0.0.1{port}/")), Some(Fault::Port), "{port}");
    }
}

#[test]
fn address_and_headers_are_bounded() {
    let with = |length: usize| request("a", &"x".repeat(length));
    let most = MAX_HEAD_BYTES - head_bytes(&with(0));
    assert_eq!(check_and_clean(&mut with(most), ""), Ok(None));
    let too_long = Err(HttpRequestError::HeadTooLong(MAX_HEAD_BYTES as u64));
    assert_eq!(check_and_clean(&mut with(most + 1), ""), too_long);
    let address = format!("http://a.example.com/{}", "x".repeat(60_000));
    let mut long = Request::get(address).body(Bytes::new()).expect("a request");
    assert_eq!(check_and_clean(&mut long, ""), Ok(None));
    for number in 0..1000 {
        let name = format!("a{number}").parse::<HeaderName>().expect("a name");
        long.headers_mut().insert(name, header::HeaderValue::from_static(""));
    }
    assert_eq!(check_and_clean(&mut long, ""), too_long);
}
