use jobwright_core::access::{AccessStore as _, Act, Proof};
use jobwright_core::clock::Timestamp;
use serde_json::json;

use super::super::{SqliteAccess, TABLES};
use super::*;

fn entry(target: &str) -> AuditEntry {
    AuditEntry {
        id: 0,
        at: Timestamp::UNIX_EPOCH,
        actor: "key".to_owned(),
        tenant: Default::default(),
        action: "queue.pause".to_owned(),
        target: target.to_owned(),
        detail: json!({}),
    }
}

async fn record(access: &SqliteAccess, target: &str, share: AuditShare) {
    let act = Act { entry: entry(target), share, proof: Proof::File };
    access.record(act).await.expect("a whole store").expect("its caller is authorized");
}

async fn targets(access: &SqliteAccess) -> Vec<(u64, String)> {
    let entries = access.audit(None, 100).await.unwrap();
    entries.into_iter().rev().map(|entry| (entry.id, entry.target)).collect()
}

#[tokio::test]
async fn each_share_is_bounded_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { operator: 3, tenant: 2 };
    let access = SqliteAccess::bounded(folder.path(), bounds).unwrap();
    let share = |name: &str| match name {
        "operator" => AuditShare::Operator,
        name => AuditShare::Tenant(name.parse().expect("a name")),
    };
    for name in ["operator", "a", "b", "a", "a", "operator", "a"] {
        record(&access, name, share(name)).await;
    }
    let kept = |left: &[(u64, &str)]| -> Vec<(u64, String)> {
        left.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
    };
    let left = [(1, "operator"), (3, "b"), (5, "a"), (6, "operator"), (7, "a")];
    assert_eq!(targets(&access).await, kept(&left));
    drop(access);
    // It goes on so when it is opened again.
    let access = SqliteAccess::bounded(folder.path(), bounds).unwrap();
    for name in ["operator", "operator", "b"] {
        record(&access, name, share(name)).await;
    }
    let left = [
        (3, "b"),
        (5, "a"),
        (6, "operator"),
        (7, "a"),
        (8, "operator"),
        (9, "operator"),
        (10, "b"),
    ];
    assert_eq!(targets(&access).await, kept(&left));
}

#[tokio::test]
async fn entries_from_before_shares_count_against_the_operator() {
    let folder = tempfile::tempdir().unwrap();
    let old = Connection::open(folder.path().join("access.db")).unwrap();
    old.execute_batch(TABLES).unwrap();
    for target in ["x", "y"] {
        let text = serde_json::to_string(&entry(target)).unwrap();
        old.execute("INSERT INTO audit (entry) VALUES (?1)", [text]).unwrap();
    }
    drop(old);
    let bounds = Bounds { operator: 2, tenant: 1 };
    let access = SqliteAccess::bounded(folder.path(), bounds).unwrap();
    record(&access, "z", AuditShare::Operator).await;
    assert_eq!(targets(&access).await, [(2, "y".to_owned()), (3, "z".to_owned())]);
}
