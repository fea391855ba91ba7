use futures_util::FutureExt as _;

use super::*;

fn names(plugin: &str) -> (TenantName, PluginName) {
    (TenantName::default(), plugin.parse().expect("a name"))
}

#[tokio::test]
async fn a_removal_waits_for_the_submissions_before_it_and_those_after_it_wait_for_it() {
    let (intake, (tenant, p)) = (PluginLocks::default(), names("p"));
    let before = intake.accepting(&tenant, [&p].into()).await;
    let gate = intake.gate(&tenant, &p);
    let alone = gate.change().await;
    let mut removal = Box::pin(gate.remove());
    assert!((&mut removal).now_or_never().is_none(), "a submission is under way");
    let mut after = Box::pin(intake.accepting(&tenant, [&p].into()));
    assert!((&mut after).now_or_never().is_none());
    drop(before);
    let removing = (&mut removal).now_or_never().expect("no submission is left");
    assert!((&mut after).now_or_never().is_none(), "it is being removed");
    drop((removing, alone));
    assert!(after.now_or_never().is_some());
}

#[tokio::test]
async fn another_plugin_and_the_same_name_of_another_tenant_are_not_held_up() {
    let (intake, (tenant, p), (_, q)) = (PluginLocks::default(), names("p"), names("q"));
    let gate = intake.gate(&tenant, &p);
    let (_alone, _removing) = (gate.change().await, gate.remove().await);
    assert!(intake.accepting(&tenant, [&q].into()).now_or_never().is_some());
    let other = "other".parse().expect("a name");
    assert!(intake.accepting(&other, [&p].into()).now_or_never().is_some());
}

#[tokio::test]
async fn disabling_waits_only_for_submissions_that_it_covers() {
    let (intake, (tenant, p), (_, q)) = (PluginLocks::default(), names("p"), names("q"));
    let accepting = intake.accepting(&tenant, [&p].into()).await;
    let hold =
        |plugin: &PluginName| Hold::Plugin { tenant: tenant.clone(), plugin: plugin.clone() };
    assert!(intake.drained(&hold(&q)).now_or_never().is_some());
    let (hold, tenant) = (hold(&p).by_operator(), Hold::Tenant(tenant.clone()));
    assert!(intake.drained(&hold).now_or_never().is_none());
    assert!(intake.drained(&tenant).now_or_never().is_none());
    drop(accepting);
    assert!(intake.drained(&hold).now_or_never().is_some());
}

#[tokio::test]
async fn idle_locks_are_dropped() {
    let intake = PluginLocks::default();
    for number in 0..3 * SWEEP {
        let (tenant, plugin) = names(&format!("p{number}"));
        drop(intake.accepting(&tenant, [&plugin].into()).await);
    }
    assert!(intake.lock().len() <= SWEEP);
}
