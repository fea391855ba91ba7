//! What guests reach outside of their sandboxes, and what they do not: against real servers, with
//! names that mean what a test wants.

mod answering;
mod guests;
mod load;
mod reaching;
mod secrets;
mod secure;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use jobwright::outside::resolver::{Resolver, Turn};
use jobwright::outside::secrets::SecretFile;
use jobwright::outside::values::Values;
use jobwright::outside::web::Web;
use jobwright::outside::{Means, Reach};
use jobwright_core::clock::Timestamp;
use jobwright_core::outside::{Outside as _, Unsent};
use jobwright_core::secret::Secret;
use jobwright_core::{LogBuffer, SecretStore as _, TenantName};
use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;

pub fn trials() -> Vec<Trial> {
    let mut trials = answering::trials();
    trials.extend(guests::trials());
    trials.extend(load::trials());
    trials.extend(reaching::trials());
    trials.extend(secrets::trials());
    trials.extend(secure::trials());
    trials
}

/// Names that mean one thing at the first look-up and another at the next; the last for ever.
#[derive(Debug, Default)]
struct Names {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    fn meaning(answers: &[&[&str]]) -> anyhow::Result<Arc<Self>> {
        let parsed = answers
            .iter()
            .map(|addresses| addresses.iter().map(|address| address.parse()).collect())
            .collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { answers: Mutex::new(parsed), asked: Mutex::default() }))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str, port: u16, _: Turn) -> io::Result<Vec<SocketAddr>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(host.to_owned());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let addresses = answer.ok_or_else(|| io::Error::other("no such name"))?;
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}

/// An attempt's outside, and its log.
struct Stage {
    reach: Arc<Reach>,
    log: Arc<LogBuffer>,
    _folder: TempDir,
}

impl Stage {
    /// With grants, and names that mean nothing.
    async fn granted(grants: Value) -> anyhow::Result<Self> {
        Self::with(grants, |web| web.resolving(Arc::new(Names::default())), &[]).await
    }

    /// With names that mean this.
    async fn named(grants: Value, names: &Arc<Names>) -> anyhow::Result<Self> {
        Self::with(grants, |web| web.resolving(names.clone()), &[]).await
    }

    /// With secrets: name, value, origin.
    async fn with(
        grants: Value,
        change: impl FnOnce(Web) -> Web,
        secrets: &[(&str, &str, &str)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (file, tenant) = (SecretFile::open(folder.path())?, TenantName::default());
        for (name, value, origin) in secrets {
            let value = (*value).to_owned().try_into()?;
            let origins = vec![origin.parse()?];
            let secret = Secret { value, origins, created_at: Timestamp::UNIX_EPOCH };
            file.set(&tenant, &name.parse()?, secret).await?;
        }
        let web = Arc::new(change(Web::new(Handle::current())));
        let values = Arc::new(Values::open(folder.path(), u64::MAX)?);
        let means = Means { secrets: Arc::new(file), web, values };
        let log = Arc::new(LogBuffer::new(1 << 20));
        let grants = Arc::new(serde_json::from_value(grants)?);
        let reach = Arc::new(Reach::new((tenant, "p".parse()?), grants, means, log.clone()));
        Ok(Self { reach, log, _folder: folder })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Unsent> {
        self.reach.send(request).await
    }

    async fn get(&self, url: &str) -> Result<Response<Bytes>, Unsent> {
        self.send(get(url)).await
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.snapshot().bytes).into_owned()
    }
}

fn get(url: &str) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.parse().expect(url);
    request
}

/// Fails unless it was denied, with a line in the log for it.
fn denied(stage: &Stage, answer: Result<Response<Bytes>, Unsent>) -> anyhow::Result<String> {
    match answer {
        Err(Unsent::Denied(why)) => {
            anyhow::ensure!(stage.log().contains(&format!("denied: {why}\n")), "{}", stage.log());
            Ok(why)
        }
        other => anyhow::bail!("it was not denied: {other:?}"),
    }
}
