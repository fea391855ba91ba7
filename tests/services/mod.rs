//! Host services of guests: requests to real servers, with host names that resolve as the test wants.

mod destinations;
mod every_guest;
mod guests;
mod load;
mod masking;
mod modules;
mod responses;
mod secrets;
mod streaming;
mod tls;
mod unreadable;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use jobwright::services::resolver::{Permit, Resolver};
use jobwright::services::secrets::SecretFile;
use jobwright::services::values::{Bounds, Owner, Values};
use jobwright::services::web::Web;
use jobwright::services::{AttemptServices, SharedServices};
use jobwright_core::clock::Timestamp;
use jobwright_core::secret::Secret;
use jobwright_core::services::{HostServices as _, HttpRequestError, Timeouts};
use jobwright_core::{LogBuffer, SecretStore as _, TenantName};
use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::time::timeout;

pub fn trials() -> Vec<Trial> {
    let mut trials = responses::trials();
    trials.extend(every_guest::trials());
    trials.extend(guests::trials());
    trials.extend(masking::trials());
    trials.extend(load::trials());
    trials.extend(modules::trials());
    trials.extend(destinations::trials());
    trials.extend(secrets::trials());
    trials.extend(tls::trials());
    trials.extend(unreadable::trials());
    trials.extend(streaming::trials());
    trials
}

/// A resolver with a list of answers, one for each lookup; the last one is repeated.
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
    async fn resolve(&self, host: &str, port: u16, _: Permit) -> io::Result<Vec<SocketAddr>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(host.to_owned());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let addresses = answer.ok_or_else(|| io::Error::other("no such name"))?;
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }
}

/// The services of an attempt, and its log.
struct TestServices {
    reach: Arc<AttemptServices>,
    log: Arc<LogBuffer>,
    shared: SharedServices,
    _folder: TempDir,
}

impl TestServices {
    /// With these grants, and names that do not resolve.
    async fn granted(grants: Value) -> anyhow::Result<Self> {
        Self::with(grants, |web| web.resolving(Arc::new(Names::default())), &[]).await
    }

    /// With this resolver.
    async fn named(grants: Value, names: &Arc<Names>) -> anyhow::Result<Self> {
        Self::with(grants, |web| web.resolving(names.clone()), &[]).await
    }

    /// With secrets, each as name, value and origin.
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
        let bounds = Bounds { most_bytes: u64::MAX, free_bytes: 0 };
        let values = Arc::new(Values::open(folder.path(), bounds)?);
        let shared = SharedServices { secrets: Arc::new(file), web, values };
        let log = Arc::new(LogBuffer::new(1 << 20));
        let grants = Arc::new(serde_json::from_value(grants)?);
        let owner = Owner { tenant, plugin: "p".parse()? };
        let reach = Arc::new(AttemptServices::new(owner, grants, shared.clone(), log.clone()));
        Ok(Self { reach, log, shared, _folder: folder })
    }

    /// Sends a request and reads the whole response.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpRequestError> {
        sent(&self.reach, request).await
    }

    /// The services of an attempt at another plugin of the tenant.
    fn of_another(&self, grants: Value) -> anyhow::Result<AttemptServices> {
        let grants = Arc::new(serde_json::from_value(grants)?);
        let owner = Owner { tenant: TenantName::default(), plugin: "other".parse()? };
        Ok(AttemptServices::new(owner, grants, self.shared.clone(), self.log.clone()))
    }

    async fn get(&self, url: &str) -> Result<Response<Bytes>, HttpRequestError> {
        self.send(get(url)).await
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.snapshot().bytes).into_owned()
    }
}

/// A port on which connections are neither accepted nor refused: the backlog of its listener is full.
struct Silent {
    _listener: TcpListener,
    _taken: Vec<TcpStream>,
}

impl Silent {
    async fn at(host: &str, port: u16) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(host.parse()?, port))?;
        let (listener, mut taken) = (socket.listen(1)?, vec![]);
        let address = listener.local_addr()?;
        while let Ok(stream) =
            timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            taken.push(stream?);
        }
        Ok(Self { _listener: listener, _taken: taken })
    }
}

async fn sent(
    reach: &AttemptServices,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpRequestError> {
    let (head, mut body) = reach.send(request, Timeouts::default()).await?.into_parts();
    Ok(Response::from_parts(head, body.rest().await?))
}

fn get(url: &str) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.parse().expect(url);
    request
}

/// Fails unless the request was denied with a line in the log; returns the reason.
fn denied(
    services: &TestServices,
    answer: Result<Response<Bytes>, HttpRequestError>,
) -> anyhow::Result<String> {
    match answer {
        Err(HttpRequestError::Denied(why)) => {
            anyhow::ensure!(
                services.log().contains(&format!("denied: {why}\n")),
                "{}",
                services.log()
            );
            Ok(why)
        }
        other => anyhow::bail!("it was not denied: {other:?}"),
    }
}
