use std::future::pending;
use std::sync::Mutex;

use tokio::task::JoinSet;

use super::*;

/// Looks for ever, and says nothing; but for `quick`, which it knows.
#[derive(Debug, Default)]
struct Silent {
    /// Kept as by who is not to be stopped.
    turns: Mutex<Vec<Turn>>,
}

#[async_trait]
impl Resolver for Silent {
    async fn resolve(&self, host: &str, port: u16, turn: Turn) -> io::Result<Vec<SocketAddr>> {
        if host == "quick" {
            return Ok(vec![([1, 1, 1, 1], port).into()]);
        }
        self.turns.lock().expect("no panic").push(turn);
        pending().await
    }
}

fn tenant(name: &str) -> TenantName {
    name.parse().expect("a name")
}

type Found = Result<Vec<SocketAddr>, HttpRequestError>;

/// As many look-ups of tenant `a` as all may have, at names that nobody answers for.
fn flooded() -> (Arc<Silent>, Arc<LookUps>, JoinSet<Found>) {
    let silent = Arc::new(Silent::default());
    let (look_ups, mut going) = (Arc::new(LookUps::new(silent.clone())), JoinSet::new());
    for _ in 0..NAME_LOOKUPS.all {
        let look_ups = look_ups.clone();
        going.spawn(async move { look_ups.addresses(&tenant("a"), ("silent", 1)).await });
    }
    (silent, look_ups, going)
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_answers_for_hold_up_their_own_tenant_alone() {
    let (silent, look_ups, mut going) = flooded();
    for _ in 0..NAME_LOOKUPS.all / 2 {
        let late = going.join_next().await.expect("one of them").expect("no panic");
        assert_eq!(late, Err(HttpRequestError::Unresolved("nobody says within 5 s".to_owned())));
    }
    assert_eq!(silent.turns.lock().expect("no panic").len() as u64, NAME_LOOKUPS.all / 2);
    look_ups.addresses(&tenant("b"), ("quick", 1)).await.expect("a turn of its own");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_has_all_of_its_time_still() {
    let (silent, look_ups, _going) = flooded();
    let own = tenant("a");
    let waiting = look_ups.addresses(&own, ("quick", 1));
    let later = async {
        tokio::time::advance(RESOLVE_DEADLINE * 3).await;
        // Those before it are given up by and by, and then it is its turn.
        loop {
            silent.turns.lock().expect("no panic").clear();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        found = waiting => assert_eq!(found.expect("looked up").len(), 1),
        () = later => {}
    }
}
