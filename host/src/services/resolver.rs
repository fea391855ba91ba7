//! Which addresses a name has.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobwright_core::services::HttpRequestError;
use jobwright_core::tenant::TenantName;
use tokio::time::timeout;

pub use crate::shares::Permit as Turn;
use crate::shares::Shares;
use crate::shares::table::NAME_LOOKUPS;

/// Looks up the addresses of hosts.
#[async_trait]
pub trait Resolver: Debug + Send + Sync + 'static {
    /// Every address of `host`, a name. Whoever goes on looking when nobody waits for it any more keeps
    /// the `turn` until then.
    ///
    /// # Errors
    /// If it has none, or nobody says.
    async fn resolve(&self, host: &str, port: u16, turn: Turn) -> io::Result<Vec<SocketAddr>>;
}

/// How long names may take: as long as resolvers commonly wait for one server.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// Look-ups, so many at a time.
#[derive(Debug)]
pub(super) struct LookUps {
    resolver: Arc<dyn Resolver>,
    turns: Shares,
}

impl LookUps {
    pub(super) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, turns: Shares::new(&NAME_LOOKUPS) }
    }

    /// The addresses of `host`, of which there is one at least. What it waits for a turn is no part of
    /// what the name may take.
    pub(super) async fn addresses(
        &self,
        tenant: &TenantName,
        (host, port): (&str, u16),
    ) -> Result<Vec<SocketAddr>, HttpRequestError> {
        let turn = self.turns.of(tenant).acquire().await;
        match timeout(RESOLVE_DEADLINE, self.resolver.resolve(host, port, turn)).await {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(HttpRequestError::Unresolved("it has no address".to_owned()))
            }
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(HttpRequestError::Unresolved(error.to_string())),
            Err(_) => {
                let seconds = RESOLVE_DEADLINE.as_secs();
                Err(HttpRequestError::Unresolved(format!("nobody says within {seconds} s")))
            }
        }
    }
}

/// As the machine does it.
#[derive(Debug, Clone, Copy)]
pub struct System;

#[async_trait]
impl Resolver for System {
    async fn resolve(&self, host: &str, port: u16, turn: Turn) -> io::Result<Vec<SocketAddr>> {
        let host = host.to_owned();
        let looking = tokio::task::spawn_blocking(move || {
            // Kept until the system answers, not until nobody asks any more.
            let _turn = turn;
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
        });
        looking.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests;
