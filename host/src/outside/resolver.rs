//! Which addresses a name has.

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

/// Looks up the addresses of hosts.
#[async_trait]
pub trait Resolver: Debug + Send + Sync + 'static {
    /// Every address of `host`, a name.
    ///
    /// # Errors
    /// If it has none, or nobody says.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Look-ups at one time. Each takes a thread for as long as the system takes, also if nobody waits for
/// it any more.
const LOOK_UPS: usize = 16;

/// As the machine does it.
#[derive(Debug)]
pub struct System {
    turns: Arc<Semaphore>,
}

impl Default for System {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(LOOK_UPS)) }
    }
}

#[async_trait]
impl Resolver for System {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let turn = self.turns.clone().acquire_owned().await.map_err(io::Error::other)?;
        let host = host.to_owned();
        let looking = tokio::task::spawn_blocking(move || {
            // Kept until the system answers, not until nobody asks any more.
            let _turn = turn;
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
        });
        looking.await.map_err(io::Error::other)?
    }
}
