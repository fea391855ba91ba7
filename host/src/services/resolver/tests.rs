use std::future::pending;
use std::sync::Mutex;

use tokio::task::JoinSet;

use super::*;

/// A resolver that never responds, but for the name `quick`.
#[derive(Debug, Default)]
struct Silent {
    /// The permits of lookups, which go on when their futures are dropped.
    permits: Mutex<Vec<Permit>>,
}

#[async_trait]
impl Resolver for Silent {
    async fn resolve(&self, host: &str, port: u16, permit: Permit) -> io::Result<Vec<SocketAddr>> {
        if host == "quick" {
            return Ok(vec![([1, 1, 1, 1], port).into()]);
        }
        self.permits.lock().expect("no panic").push(permit);
        pending().await
    }
}

fn tenant(name: &str) -> TenantName {
    name.parse().expect("a name")
}

type Found = Result<Vec<SocketAddr>, HttpRequestError>;

/// As many lookups of tenant `a` as the host allows in all, of names without a response.
fn flooded() -> (Arc<Silent>, Arc<Lookups>, JoinSet<Found>) {
    let silent = Arc::new(Silent::default());
    let (lookups, mut tasks) = (Arc::new(Lookups::new(silent.clone())), JoinSet::new());
    for _ in 0..NAME_LOOKUPS.all {
        let lookups = lookups.clone();
        tasks.spawn(async move { lookups.addresses(&tenant("a"), "silent", 1).await });
    }
    (silent, lookups, tasks)
}

#[tokio::test(start_paused = true)]
async fn unresponsive_names_delay_only_their_own_tenant() {
    let (silent, lookups, mut tasks) = flooded();
    for _ in 0..NAME_LOOKUPS.all / 2 {
        let late = tasks.join_next().await.expect("one of them").expect("no panic");
        assert_eq!(late, Err(HttpRequestError::Unresolved("no response within 5 s".to_owned())));
    }
    assert_eq!(silent.permits.lock().expect("no panic").len() as u64, NAME_LOOKUPS.all / 2);
    lookups.addresses(&tenant("b"), "quick", 1).await.expect("a permit of its own share");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_begins_when_a_lookup_has_its_permit() {
    let (silent, lookups, _tasks) = flooded();
    let own = tenant("a");
    let waiting = lookups.addresses(&own, "quick", 1);
    let later = async {
        tokio::time::advance(RESOLVE_DEADLINE * 3).await;
        // The earlier lookups end one after the other; then this one has a permit.
        loop {
            silent.permits.lock().expect("no panic").clear();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        found = waiting => assert_eq!(found.expect("looked up").len(), 1),
        () = later => {}
    }
}
