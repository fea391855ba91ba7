//! Secrets that a server was sent: masked for every plugin of the tenant, after any later change, and in
//! every encoding.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jobwright::services::AttemptServices;
use jobwright_core::TenantName;
use jobwright_core::clock::Timestamp;
use jobwright_core::secret::Secret;
use jobwright_core::services::HttpRequestError;
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{TestServices, get, sent};

pub(super) fn trials() -> Vec<Trial> {
    tests![
        a_secret_that_a_server_knows_is_hidden_from_all_plugins_after_any_change,
        responses_of_servers_without_the_secret_are_unchanged,
        a_secret_that_a_server_truncates_is_shown,
    ]
}

/// A value like the keys of many services, with characters that JSON, URLs and HTML escape.
const VALUE: &str = r#"ab+cd/ef==gh"ij&kl"#;

type Way = fn(&str) -> Vec<u8>;

fn json_of(text: &str) -> String {
    json!(text).to_string()
}

fn percent(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric();
    let encoded = |c| if plain(c) { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
    text.chars().map(encoded).collect()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;")
}

fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn escaped(text: &str, way: fn(u8) -> String) -> Vec<u8> {
    text.bytes().map(way).collect::<String>().into()
}

fn joined(text: &str, way: fn(u8) -> String, between: &str) -> Vec<u8> {
    text.bytes().map(way).collect::<Vec<_>>().join(between).into()
}

/// As `xxd` prints it, in lines of sixteen bytes.
fn dump(text: &str) -> String {
    let line = |(number, bytes): (usize, &[u8])| {
        let hex = |pair: &[u8]| pair.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let groups = bytes.chunks(2).map(hex).collect::<Vec<_>>().join(" ");
        format!("{number:07x}0: {groups:39}  {}\n", String::from_utf8_lossy(bytes))
    };
    text.as_bytes().chunks(16).enumerate().map(line).collect()
}

/// As `od -x` prints it.
fn words(text: &str) -> Vec<u8> {
    let word = |pair: &[u8]| pair.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    let words: Vec<String> = text.as_bytes().chunks(2).map(word).collect();
    format!("0000000 {}\n0000000\n", words.join(" ")).into()
}

/// Encodings by name, which is the path of the request.
const WAYS: [(&str, Way); 25] = [
    ("/plain", |text| text.into()),
    ("/json", |text| json_of(text).into()),
    ("/json-in-json", |text| json_of(&json_of(text)).into()),
    ("/json-in-json-in-json", |text| json_of(&json_of(&json_of(text))).into()),
    ("/percent", |text| percent(text).into()),
    ("/percent-twice", |text| percent(&percent(text)).into()),
    ("/html", |text| html(text).into()),
    ("/html-twice", |text| html(&html(text)).into()),
    ("/html-in-json", |text| json_of(&html(text)).into()),
    ("/base64", |text| STANDARD.encode(text).into()),
    ("/base64url", |text| URL_SAFE_NO_PAD.encode(text).into()),
    ("/base64-twice", |text| STANDARD.encode(STANDARD.encode(text)).into()),
    ("/entities-without-an-end", |text| escaped(text, |byte| format!("&#{byte}"))),
    ("/hexadecimal-ones", |text| escaped(text, |byte| format!("&#x{byte:x}"))),
    ("/octal", |text| escaped(text, |byte| format!("\\{byte:o}"))),
    ("/numbers", |text| json!(text.as_bytes()).to_string().into()),
    ("/numbers-in-lines", |text| joined(text, |byte| byte.to_string(), "\r\n")),
    ("/dump", |text| dump(text).into()),
    ("/dump-in-json", |text| json_of(&dump(text)).into()),
    ("/words", words),
    ("/utf-16", utf_16),
    ("/html-in-utf-16", |text| utf_16(&html(text))),
    ("/percent-in-utf-16", |text| utf_16(&percent(text))),
    ("/json-in-utf-16", |text| utf_16(&json_of(text))),
    ("/base64-of-utf-16", |text| STANDARD.encode(utf_16(text)).into()),
];

/// A server that stores the key that it was sent, and returns it in the requested encoding.
async fn remembering(memory: Arc<Mutex<String>>) -> anyhow::Result<Server> {
    Server::answering(move |request| {
        let mut memory = memory.lock().expect("no panic");
        if let Some(key) = request.lines().find_map(|line| line.strip_prefix("x-key: ")) {
            key.clone_into(&mut memory);
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let way = WAYS.iter().find(|(name, _)| *name == path);
        let body = way.map_or_else(Vec::new, |(_, way)| way(&memory));
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    })
    .await
}

/// What an operator may do after a server was sent a secret.
#[derive(Debug, Clone, Copy)]
enum Change {
    Nothing,
    Replaced,
    Removed,
    Moved,
}

impl Change {
    async fn make(self, services: &TestServices, origin: &str) -> anyhow::Result<()> {
        let (tenant, name) = (TenantName::default(), "KEY".parse()?);
        let secret = |value: &str, origin: &str| -> anyhow::Result<Secret> {
            let (value, origins) = (value.to_owned().try_into()?, vec![origin.parse()?]);
            Ok(Secret { value, origins, created_at: Timestamp::UNIX_EPOCH })
        };
        let (secrets, elsewhere) = (&services.shared.secrets, "https://elsewhere.example.com");
        match self {
            Self::Nothing => {}
            Self::Replaced => {
                secrets.set(&tenant, &name, secret("a-new-value", origin)?).await?;
            }
            Self::Removed => {
                secrets.remove(&tenant, &name, Timestamp::UNIX_EPOCH).await?;
            }
            Self::Moved => {
                secrets.set(&tenant, &name, secret(VALUE, elsewhere)?).await?;
            }
        }
        Ok(())
    }
}

/// Fails if an attempt that sends requests to `origin` gets the secret in any encoding.
async fn gets_no_secret(reach: &AttemptServices, origin: &str, who: &str) -> anyhow::Result<()> {
    for (path, way) in WAYS {
        let told = sent(reach, get(&format!("{origin}{path}"))).await?.into_body();
        let shown = String::from_utf8_lossy(&told).into_owned();
        assert_eq!(told.len(), way(VALUE).len(), "{who} {path}");
        // Apart from the surrounding bytes: quotes, escaped or not, zeros of offsets, line breaks in JSON,
        // and padding of base64, where one digit may belong to a zero byte of UTF-16.
        let says = |byte: &&u8| byte.is_ascii_alphanumeric() && **byte != b'0';
        let left = told.iter().filter(says).count();
        assert!(left <= 1 && shown.contains("**********"), "{who} {path}: {shown}");
    }
    let mut part = get(&format!("{origin}/plain"));
    part.headers_mut().insert("range", "bytes=0-3".parse()?);
    let refused = sent(reach, part).await;
    assert!(matches!(refused, Err(HttpRequestError::Denied(_))), "{who}: {refused:?}");
    Ok(())
}

async fn a_secret_that_a_server_knows_is_hidden_from_all_plugins_after_any_change()
-> anyhow::Result<()> {
    for change in [Change::Nothing, Change::Replaced, Change::Removed, Change::Moved] {
        let memory = Arc::new(Mutex::new(String::new()));
        let server = remembering(memory.clone()).await?;
        let other_port = remembering(memory.clone()).await?;
        let [origin, other] =
            [&server, &other_port].map(|server| format!("http://{}", server.address()));
        let http = json!([{ "origin": origin }, { "origin": other }]);
        let granted = |secrets: Value| json!({ "http": http, "secrets": secrets });
        let secrets = [("KEY", VALUE, origin.as_str())];
        let services = TestServices::with(granted(json!(["KEY"])), |web| web, &secrets).await?;
        let mut storing = get(&format!("{origin}/store"));
        storing.headers_mut().insert("x-key", "jobwright-secret(KEY)".parse()?);
        services.send(storing).await?;
        assert_eq!(*memory.lock().expect("no panic"), VALUE);
        change.make(&services, &origin).await?;
        for secrets in [json!(["KEY"]), json!([])] {
            let reach = services.of_another(granted(secrets.clone()))?;
            for place in [&origin, &other] {
                gets_no_secret(&reach, place, &format!("{change:?} {secrets} {place}")).await?;
            }
        }
    }
    Ok(())
}

async fn responses_of_servers_without_the_secret_are_unchanged() -> anyhow::Result<()> {
    let memory = Arc::new(Mutex::new(VALUE.to_owned()));
    let server = remembering(memory).await?;
    let origin = format!("http://{}", server.address());
    let grants = json!({ "http": [{ "origin": origin }] });
    let elsewhere = [("KEY", VALUE, "https://elsewhere.example.com")];
    let services = TestServices::with(grants, |web| web, &elsewhere).await?;
    assert_eq!(services.get(&format!("{origin}/plain")).await?.body(), VALUE);
    Ok(())
}

async fn a_secret_that_a_server_truncates_is_shown() -> anyhow::Result<()> {
    // Documented in the README (grants and secrets): a prefix cannot be distinguished from other text.
    let memory = Arc::new(Mutex::new(VALUE[..8].to_owned()));
    let server = remembering(memory).await?;
    let origin = format!("http://{}", server.address());
    let grants = json!({ "http": [{ "origin": origin }], "secrets": ["KEY"] });
    let services = TestServices::with(grants, |web| web, &[("KEY", VALUE, &origin)]).await?;
    assert_eq!(services.get(&format!("{origin}/plain")).await?.body(), &VALUE[..8]);
    Ok(())
}
