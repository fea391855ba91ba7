//! Secrets in a database that gets out of reach: none is sent, and no response is shown in which one could
//! be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use jobwright::services::values::Owner;
use jobwright::services::{AttemptServices, SharedServices};
use jobwright_core::clock::Timestamp;
use jobwright_core::grant::SecretName;
use jobwright_core::secret::{Secret, SecretError, SecretStore, TenantSecrets};
use jobwright_core::services::HttpRequestError;
use jobwright_core::store::StoreError;
use jobwright_core::tenant::TenantName;
use jobwright_tests::{Server, tests};
use libtest_mimic::Trial;
use serde_json::json;

use super::{TestServices, get, sent};

pub(super) fn trials() -> Vec<Trial> {
    tests![no_secret_is_sent_or_shown_once_secrets_cannot_be_read]
}

/// Secrets of which some more lookups succeed.
#[derive(Debug)]
struct SharedSecrets {
    inner: Arc<dyn SecretStore>,
    left: AtomicUsize,
}

#[async_trait]
impl SecretStore for SharedSecrets {
    fn of(&self, tenant: &TenantName) -> Result<Arc<TenantSecrets>, StoreError> {
        let one_less = |left: usize| left.checked_sub(1);
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(_) => self.inner.of(tenant),
            Err(_) => Err(StoreError::Unavailable { reason: "no connection".to_owned() }),
        }
    }
    async fn list(&self, tenant: &TenantName) -> Result<Vec<(SecretName, Secret)>, StoreError> {
        self.inner.list(tenant).await
    }
    async fn set(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        secret: Secret,
    ) -> Result<bool, SecretError> {
        self.inner.set(tenant, name, secret).await
    }
    async fn remove(
        &self,
        tenant: &TenantName,
        name: &SecretName,
        at: Timestamp,
    ) -> Result<bool, SecretError> {
        self.inner.remove(tenant, name, at).await
    }
}

async fn no_secret_is_sent_or_shown_once_secrets_cannot_be_read() -> anyhow::Result<()> {
    let server = Server::answering(|request| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.len());
        format!("{head}{request}").into_bytes()
    })
    .await?;
    let origin = format!("http://{}", server.address());
    let grants = json!({ "http": [{ "origin": origin }], "secrets": ["KEY"] });
    let secrets = [("KEY", "s3cr3t-v4lue", origin.as_str())];
    let services = TestServices::with(grants.clone(), |web| web, &secrets).await?;
    // Looked up for the request, for the head of the response, and twice for its body.
    for lookups in 0.. {
        let (inner, left) = (services.shared.secrets.clone(), AtomicUsize::new(lookups));
        let secrets = Arc::new(SharedSecrets { inner, left });
        let shared = SharedServices { secrets, ..services.shared.clone() };
        let owner = Owner { tenant: TenantName::default(), plugin: "p".parse()? };
        let grants = Arc::new(serde_json::from_value(grants.clone())?);
        let reach = AttemptServices::new(owner, grants, shared, services.log.clone());
        let mut request = get(&origin);
        request.headers_mut().insert("x-key", "jobwright-secret(KEY)".parse()?);
        match sent(&reach, request).await {
            Err(HttpRequestError::Broken(why)) => {
                assert!(why.contains("secrets") && !why.contains("no connection"), "{why}");
                assert_eq!(server.seen().is_empty(), lookups == 0, "it was sent after {lookups}");
            }
            answer => {
                assert!(lookups >= 3, "after {lookups} lookups: {answer:?}");
                let body = answer?.into_body();
                assert!(String::from_utf8_lossy(&body).contains("************"), "it is masked");
                return Ok(());
            }
        }
    }
    Ok(())
}
