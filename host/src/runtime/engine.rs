//! wasmtime's engines: how code is generated, and where instances live.
//!
//! Owns the engine of each [`Profile`], and their [`settings`]; not the code itself. Invariants:
//! all code runs under epochs; the pool of an engine has room for as many attempts as the runtime
//! admits, so that no attempt fails because the pool is full.

mod settings;

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::error::Context as _;
use wasmtime::{Engine, Linker, component};

pub(super) use self::settings::Shape;
use self::settings::{HOST_STACK_BYTES, config, pool};
use super::abi::offer;
use super::config::{Allocator, EngineConfig};
use super::epoch::Ticker;
use super::machine::Machine;
use super::profile::{Profile, Space, Target};

/// The engines. The second is made when the first job needs it.
pub(super) struct Engines {
    shape: Shape,
    ticker: Arc<Ticker>,
    fuel: Arc<Machine>,
    epochs: Mutex<Option<Arc<Machine>>>,
}

impl Engines {
    /// Makes the first engine.
    ///
    /// # Errors
    /// If this machine cannot run guests, or not with the configured allocator.
    pub(super) fn new(shape: Shape, ticker: Arc<Ticker>) -> anyhow::Result<Self> {
        let fuel = Arc::new(machine(Profile::Fuel, &shape)?);
        ticker.add(&fuel.engine);
        Ok(Self { shape, ticker, fuel, epochs: Mutex::default() })
    }

    /// The engine for code of this profile.
    ///
    /// # Errors
    /// If it must be created and that fails.
    pub(super) fn machine(&self, profile: Profile) -> anyhow::Result<Arc<Machine>> {
        if profile == Profile::Fuel {
            return Ok(self.fuel.clone());
        }
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*epochs {
            return Ok(made.clone());
        }
        let made = Arc::new(machine(profile, &self.shape)?);
        self.ticker.add(&made.engine);
        Ok(epochs.insert(made).clone())
    }

    /// The engine that was made at start.
    pub(super) fn first(&self) -> &Machine {
        &self.fuel
    }
}

fn machine(profile: Profile, shape: &Shape) -> wasmtime::Result<Machine> {
    let (engine, space) = engine(profile, shape)?;
    let mut modules = Linker::new(&engine);
    offer::link_modules(&mut modules).context("cannot link the host functions")?;
    let mut components = component::Linker::new(&engine);
    offer::link_components(&mut components).context("cannot link the interfaces of the host")?;
    Ok(Machine { engine, target: Target { profile, space }, modules, components })
}

fn engine(profile: Profile, shape: &Shape) -> wasmtime::Result<(Engine, Space)> {
    let EngineConfig { allocator, stack_bytes, .. } = shape.config;
    let config = |space| {
        let mut config = config(Target { profile, space });
        config.max_wasm_stack(stack_bytes).async_stack_size(stack_bytes + HOST_STACK_BYTES);
        config
    };
    if allocator != Allocator::OnDemand {
        // All address space is reserved here, so creating the engine shows whether there is enough.
        let made = Engine::new(config(Space::Ample).allocation_strategy(pool(shape)));
        match (made, allocator) {
            (Ok(engine), _) => return Ok((engine, Space::Ample)),
            (Err(error), Allocator::Pooling) => {
                return Err(error.context(format!(
                    "cannot reserve address space for {} guests; {REMEDY}",
                    shape.attempts
                )));
            }
            (Err(error), _) => tracing::warn!(
                guests = shape.attempts,
                error = format!("{error:#}"),
                "cannot reserve address space for a pool of guests: each attempt will allocate \
                 its own memory, which is several times slower for short jobs; {REMEDY}"
            ),
        }
    }
    let scarce = Engine::new(&config(Space::Scarce));
    Ok((scarce.context("cannot create the engine for guests")?, Space::Scarce))
}

/// An engine that only compiles code for this target.
///
/// # Errors
/// If wasmtime cannot compile for this machine.
pub(super) fn compiling(target: Target) -> wasmtime::Result<Engine> {
    Engine::new(&config(target))
}

const REMEDY: &str = "raise the limit on address space (`ulimit -v`, RLIMIT_AS, a container's \
                      memory policy, vm.overcommit_memory=2) or lower `--workers`";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jobwright_core::limits::Limits;

    use super::*;
    use crate::runtime::inspect;

    fn shape(attempts: usize, allocator: Allocator) -> Shape {
        let (ceiling, stack_bytes) = (Limits::CEILING, 512 << 10);
        let config = EngineConfig { ceiling, allocator, stack_bytes };
        Shape { attempts, config, asks_for_pages: true }
    }

    #[test]
    fn uploads_are_checked_for_the_features_that_code_is_compiled_with() {
        // wasmtime and this crate use different versions of wasmparser, so only names can be
        // compared.
        let names = |all: &mut dyn Iterator<Item = &'static str>| -> BTreeSet<_> { all.collect() };
        let checked = names(&mut inspect::features().iter_names().map(|(name, _)| name));
        for target in Target::ALL {
            let engine = Engine::new(&config(target)).expect("an engine");
            let compiled = engine.get_wasm_features();
            let compiled = names(&mut compiled.iter_names().map(|(name, _)| name));
            assert_eq!(checked, compiled);
        }
    }

    #[test]
    fn the_pool_is_used_if_its_address_space_is_available() {
        let pooled = |allocator| {
            let (engine, space) = engine(Profile::Fuel, &shape(4, allocator)).expect("an engine");
            let pooled = engine.get_pooling_config().is_some();
            assert_eq!(pooled, space == Space::Ample);
            pooled
        };
        assert!(pooled(Allocator::Pooling));
        assert!(!pooled(Allocator::OnDemand));
    }

    #[test]
    fn without_address_space_instances_are_allocated_on_demand() {
        // 2^20 guests need 2^54 bytes; processors have 2^47.
        let shape = |allocator| shape(1 << 20, allocator);
        engine(Profile::Fuel, &shape(Allocator::Auto)).expect("an engine without a pool");
        let error = engine(Profile::Fuel, &shape(Allocator::Pooling)).expect_err("no such space");
        assert!(error.to_string().contains("`--workers`"), "{error}");
    }
}
