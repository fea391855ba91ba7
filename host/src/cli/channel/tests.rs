use super::*;

fn protects(host: &str, proxy: Option<&str>) -> bool {
    Channel::new(host, proxy, false).expect(host).protects("the key").is_ok()
}

#[test]
fn what_is_confidential_leaves_the_machine_encrypted_only() {
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
        assert!(protects(host, None), "{host}");
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
        assert!(!protects(host, None), "{host}");
        let plain = Channel::new(host, None, true).expect(host);
        assert!(plain.protects("the key").is_ok(), "{host}: it may be plain");
    }
}

#[test]
fn a_proxy_elsewhere_is_beyond_the_machine() {
    assert!(protects("http://127.0.0.1:7878", Some("http://127.0.0.1:3128")));
    assert!(!protects("http://127.0.0.1:7878", Some("http://proxy:3128")));
    assert!(!protects("http://127.0.0.1:7878", Some("https://proxy:3128")));
    assert!(!protects("http://jobs.example.com", Some("http://127.0.0.1:3128")));
    assert!(protects("https://jobs.example.com", Some("http://proxy:3128")), "a tunnel");
}

#[test]
fn credentials_of_an_address_are_not_shown() {
    let channel = Channel::new("https://me:pw@jobs.example.com/", None, false).expect("one");
    assert_eq!(channel.shown(), "https://jobs.example.com");
    assert!(channel.has_credentials());
}

#[test]
fn what_is_no_address_is_refused() {
    for wrong in ["nonsense", "ftp://a", "localhost:7878", "http://", "unix:/run/a"] {
        assert!(Channel::new(wrong, None, false).is_err(), "{wrong}");
        assert!(Channel::new("http://a", Some(wrong), false).is_err(), "{wrong}");
    }
}
