//! Handles to objects that the host keeps for a guest.

use jobwright_core::limits::Limit;

use super::Bench;
use crate::runtime::fixture::{exceeded, output};

super::laws![few_handles_are_within_the_resource_limit, too_many_handles_reach_the_resource_limit];

/// Opens 30 handles, or only the standard streams if the ABI has no others.
const OPENS: &str = "(local $n i32)
    (loop $again
        (call $open)
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 30))))";

async fn few_handles_are_within_the_resource_limit(bench: Bench) -> anyhow::Result<()> {
    output(&bench.run(OPENS, |limits| limits.resources = bench.abi.handles + 10).await?)?;
    Ok(())
}

async fn too_many_handles_reach_the_resource_limit(bench: Bench) -> anyhow::Result<()> {
    let most = bench.abi.handles - 1;
    let ended = bench.run(OPENS, |limits| limits.resources = most).await?;
    let message = exceeded(&ended, Limit::Resources)?.message;
    assert_eq!(message, format!("resource limit {most} handles exceeded"));
    Ok(())
}
