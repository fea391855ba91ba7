use super::*;

fn request(header: (&str, &str)) -> Request<Bytes> {
    let request = Request::post("http://a.example.com/p?secret=1").header(header.0, header.1);
    request.body(Bytes::from_static(b"12345")).expect("a request")
}

#[test]
fn what_is_between_the_guest_and_who_answers_passes() {
    for header in [("accept", "*/*"), ("content-length", "5"), ("cookie", "a=b")] {
        assert_eq!(sound(&request(header)), Ok(()), "{header:?}");
    }
}

#[test]
fn what_is_of_the_connection_is_refused() {
    for name in NOT_THE_GUESTS {
        let refused = sound(&request((name.as_str(), "chunked")));
        assert_eq!(refused, Err(Fault::Header(name)));
    }
    for wrong in ["4", "6", "+5", "05", "5, 5", ""] {
        let refused = sound(&request(("content-length", wrong)));
        assert!(matches!(refused, Err(Fault::Length { .. })), "{wrong}");
    }
    let mut twice = request(("content-length", "5"));
    twice.headers_mut().append("content-length", header::HeaderValue::from_static("6"));
    assert!(matches!(sound(&twice), Err(Fault::Length { .. })));
    let mut tunnel = request(("a", "b"));
    *tunnel.method_mut() = Method::CONNECT;
    assert!(matches!(sound(&tunnel), Err(Fault::Tunnel(_))));
    let mut user = request(("a", "b"));
    *user.uri_mut() = "http://me:pw@a.example.com/".parse().expect("a URI");
    assert_eq!(sound(&user), Err(Fault::User));
}

#[test]
fn a_port_that_is_none_is_refused() {
    let fault = |address: &str| {
        let request = Request::get(address).body(Bytes::new()).expect(address);
        sound(&request).err()
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
fn address_and_headers_are_as_long_as_they_may_be_and_no_longer() {
    let with = |length: usize| request(("a", &"x".repeat(length)));
    let most = MAX_HEAD_BYTES - head_bytes(&with(0));
    assert_eq!(check(&with(most)), Ok(()));
    let too_long = Err(Unsent::HeadTooLong(MAX_HEAD_BYTES as u64));
    assert_eq!(check(&with(most + 1)), too_long);
    let address = format!("http://a.example.com/{}", "x".repeat(60_000));
    let mut long = Request::get(address).body(Bytes::new()).expect("a request");
    assert_eq!(check(&long), Ok(()));
    for number in 0..1000 {
        let name = format!("a{number}").parse::<HeaderName>().expect("a name");
        long.headers_mut().insert(name, header::HeaderValue::from_static(""));
    }
    assert_eq!(check(&long), too_long);
}
