use axum::body::Body;

use super::*;

fn allowed(method: Method, headers: &[(&'static str, &str)]) -> bool {
    let headers = headers
        .iter()
        .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
        .collect();
    let hosts = AllowedHosts::new(&[" Jobs.example".to_owned(), String::new()]);
    hosts.check(&method, &Uri::from_static("/"), &headers).is_ok()
}

#[test]
fn only_allowed_hosts_are_served() {
    for good in [
        "localhost:7878",
        "127.0.0.1:7878",
        "127.0.0.1",
        "[::1]:7878",
        "[::1]",
        "jobs.example",
        "JOBS.example:443",
    ] {
        assert!(allowed(Method::GET, &[("host", good)]), "{good}");
    }
    for bad in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7878"] {
        assert!(!allowed(Method::GET, &[("host", bad)]), "{bad}");
    }
}

#[test]
fn only_health_checks_of_http_1_0_need_no_host() {
    let admitted = |method: Method, path: &str, version, host: Option<&str>| {
        let request = Request::builder().method(method).uri(path).version(version);
        let request = host.iter().fold(request, |request, host| request.header("host", *host));
        AllowedHosts::default().admit(&request.body(Body::empty()).unwrap()).is_ok()
    };
    for path in ["/healthz", "/readyz", "/readyz?from=balancer"] {
        assert!(admitted(Method::GET, path, Version::HTTP_10, None), "{path}");
        assert!(admitted(Method::HEAD, path, Version::HTTP_10, None), "{path}");
        assert!(!admitted(Method::POST, path, Version::HTTP_10, None), "{path}");
        assert!(!admitted(Method::GET, path, Version::HTTP_11, None), "{path}");
        for foreign in ["", "evil.example"] {
            assert!(!admitted(Method::GET, path, Version::HTTP_10, Some(foreign)), "{path}");
        }
    }
    for path in ["/", "/v1/jobs", "/healthz/", "/readyz/../v1/jobs", "http://evil.example/readyz"] {
        assert!(!admitted(Method::GET, path, Version::HTTP_10, None), "{path}");
    }
    for path in ["/", "/healthz"] {
        assert!(admitted(Method::OPTIONS, path, Version::HTTP_10, None), "{path}");
    }
    assert!(!admitted(Method::OPTIONS, "/v1/jobs", Version::HTTP_10, None));
    assert!(admitted(Method::GET, "/v1/jobs", Version::HTTP_10, Some("localhost")));
}

#[test]
fn requests_of_other_sites_are_refused_except_links_to_the_start_page() {
    let host = ("host", "localhost:7878");
    for foreign in
        [("origin", "http://evil.example"), ("origin", "null"), ("origin", "http://localhost:9999")]
    {
        assert!(!allowed(Method::POST, &[host, foreign]), "{foreign:?}");
        assert!(allowed(Method::GET, &[host, foreign]), "{foreign:?}");
    }
    let (mode, dest) = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"));
    for site in ["cross-site", "same-site"].map(|site| ("sec-fetch-site", site)) {
        assert!(!allowed(Method::POST, &[host, site, mode, dest]), "{site:?}");
        assert!(!allowed(Method::GET, &[host, site]), "{site:?}");
        assert!(!allowed(Method::GET, &[host, site, mode, ("sec-fetch-dest", "iframe")]));
        assert!(allowed(Method::GET, &[host, site, mode, dest]), "{site:?}");
    }
    for own in [("origin", "http://localhost:7878"), ("sec-fetch-site", "same-origin")] {
        assert!(allowed(Method::DELETE, &[host, own]), "{own:?}");
        assert!(allowed(Method::GET, &[host, own]), "{own:?}");
    }
}
