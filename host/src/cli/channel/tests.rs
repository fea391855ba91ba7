use super::*;

fn is_allowed(host: &str, proxy: Option<&str>) -> bool {
    Channel::new(host, proxy, false).expect(host).ensure_confidential("the key").is_ok()
}

#[test]
fn confidential_values_leave_the_machine_only_encrypted() {
    for host in [
        "http://127.0.0.1:7878",
        "http://127.9.9.9",
        "http://localhost:7878",
        "http://LOCALHOST",
        "http://[::1]:7878",
        "http://[::ffff:127.0.0.1]",
        "https://jobs.example.com",
        "https://10.0.0.1",
    ] {
        assert!(is_allowed(host, None), "{host}");
    }
    for host in [
        "http://jobs.example.com",
        "http://10.0.0.1:7878",
        "http://0.0.0.0:7878",
        "http://[fd00::1]",
        "http://localhost.example.com",
        "http://notlocalhost",
        "http://128.0.0.1",
    ] {
        assert!(!is_allowed(host, None), "{host}");
        let plain = Channel::new(host, None, true).expect(host);
        assert!(plain.ensure_confidential("the key").is_ok(), "{host}: --insecure-http");
    }
}

#[test]
fn a_proxy_on_another_machine_needs_encryption() {
    assert!(is_allowed("http://127.0.0.1:7878", Some("http://127.0.0.1:3128")));
    assert!(!is_allowed("http://127.0.0.1:7878", Some("http://proxy:3128")));
    assert!(!is_allowed("http://127.0.0.1:7878", Some("https://proxy:3128")));
    assert!(!is_allowed("http://jobs.example.com", Some("http://127.0.0.1:3128")));
    assert!(is_allowed("https://jobs.example.com", Some("http://proxy:3128")), "a tunnel");
}

#[test]
fn credentials_of_an_address_are_not_shown() {
    let channel = Channel::new("https://me:pw@jobs.example.com/", None, false).expect("one");
    assert_eq!(channel.public_address(), "https://jobs.example.com");
    assert!(channel.has_credentials());
}

#[test]
fn invalid_addresses_are_refused() {
    for wrong in ["nonsense", "ftp://a", "localhost:7878", "http://", "unix:/run/a"] {
        assert!(Channel::new(wrong, None, false).is_err(), "{wrong}");
        assert!(Channel::new("http://a", Some(wrong), false).is_err(), "{wrong}");
    }
}
