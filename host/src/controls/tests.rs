//! A change that is committed while the holds are read is neither missed nor undone.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jobwright_core::change::Position;
use jobwright_core::clock::Timestamp;
use jobwright_core::hold::HoldNote;
use jobwright_core::tenant::{TenantLimits, TenantName};

use super::*;

/// Controls that are shared with another host, which changes them while they are read.
struct Shared {
    stream: ChangeStream,
    /// What is read.
    read: VersionedHolds,
    /// What is published between the reading and its answer.
    meanwhile: Vec<HoldChange>,
}

#[async_trait]
impl Controls for Shared {
    async fn versioned_holds(&self) -> Result<VersionedHolds, StoreError> {
        for change in &self.meanwhile {
            publish(&self.stream, change.clone());
        }
        Ok(self.read.clone())
    }

    async fn set_held(&self, _: Hold, _: Option<HoldNote>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn set_tenant(&self, _: TenantName, _: TenantLimits) -> Result<(), StoreError> {
        Ok(())
    }

    async fn tenant(&self, _: &TenantName) -> Result<TenantLimits, StoreError> {
        Ok(TenantLimits::default())
    }

    async fn tenants(&self) -> Result<Vec<(TenantName, TenantLimits)>, StoreError> {
        Ok(vec![])
    }
}

fn publish(stream: &ChangeStream, change: HoldChange) {
    let (position, at) = (Position::default(), Timestamp::UNIX_EPOCH);
    stream.tell(&[Change { position, at, event: Event::Hold(change) }]);
}

fn tenant() -> Hold {
    Hold::Tenant(TenantName::default())
}

fn change(held: bool, version: u64) -> HoldChange {
    HoldChange { hold: tenant(), held, version: ControlsVersion::new(version) }
}

/// Whether the tenant is disabled by a view that read it as `held` at `version`, and `meanwhile` followed
/// the changes after the reading.
async fn is_disabled(held: bool, version: u64, meanwhile: &[HoldChange]) -> bool {
    let holds: BTreeMap<_, _> = held.then(|| (tenant(), HoldNote::default())).into_iter().collect();
    let read = VersionedHolds { version: ControlsVersion::new(version), holds };
    let shared = Shared { stream: ChangeStream::default(), read, meanwhile: meanwhile.to_vec() };
    let view = ControlsView::following(&shared, &shared.stream).await.expect("it can be read");
    view.is_disabled(&tenant())
}

#[tokio::test]
async fn a_change_after_the_reading_is_applied_although_it_came_before_the_answer() {
    assert!(!is_disabled(true, 1, &[change(false, 2)]).await, "it was released meanwhile");
    assert!(is_disabled(false, 1, &[change(true, 2)]).await, "it was set meanwhile");
}

#[tokio::test]
async fn a_change_that_the_reading_includes_is_not_applied_again() {
    assert!(!is_disabled(false, 2, &[change(true, 1)]).await, "it was released at version 2");
    assert!(is_disabled(true, 2, &[change(false, 1)]).await, "it was set at version 2");
}

#[tokio::test]
async fn changes_are_followed_after_the_start() {
    let read = VersionedHolds { version: ControlsVersion::new(5), ..VersionedHolds::default() };
    let shared = Shared { stream: ChangeStream::default(), read, meanwhile: vec![] };
    let view = ControlsView::following(&shared, &shared.stream).await.expect("it can be read");
    let after = |next: HoldChange| {
        publish(&shared.stream, next);
        view.is_disabled(&tenant())
    };
    assert!(!after(change(true, 4)), "a late notice of a change that is included");
    assert!(after(change(true, 6)));
    assert!(!after(change(false, 7)));
}

#[tokio::test]
async fn a_change_that_was_not_published_is_known_after_a_refresh() {
    let read = VersionedHolds { version: ControlsVersion::new(5), ..VersionedHolds::default() };
    let mut shared = Shared { stream: ChangeStream::default(), read, meanwhile: vec![] };
    let view = ControlsView::following(&shared, &shared.stream).await.expect("it can be read");
    shared.read.version = ControlsVersion::new(6);
    shared.read.holds.insert(tenant(), HoldNote::default());
    assert!(!view.is_disabled(&tenant()));
    view.refresh(&shared).await.expect("it can be read");
    assert!(view.is_disabled(&tenant()));
    shared.meanwhile = vec![change(false, 7)];
    view.refresh(&shared).await.expect("it can be read");
    assert!(!view.is_disabled(&tenant()), "it was released while it was read");
}
