//! The depth of a component, and the number of instances that it becomes.
//!
//! Compiling a component puts the components in it into each other, as often as they are
//! instantiated: ten levels that each instantiate the next ten times are small and become 10¹⁰
//! instances. wasmtime has no bound for that. Invariant: the count is never below the number of
//! instances that compiling makes.

use jobwright_core::runtime::{UnusableCode, UnusablePlugin};
use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentImportSectionReader, ComponentInstance,
    ComponentOuterAliasKind, ComponentTypeRef, Instance, Parser, Payload, Result,
};

use super::super::debug_info::MAX_DEPTH;

/// A component or module that is being read, and the components that it can instantiate.
#[derive(Debug, Default)]
struct Frame {
    is_component: bool,
    /// The number of instances that each becomes.
    components: Vec<u64>,
    /// The number of instances that this one becomes.
    instances: u64,
}

/// The nesting at the position that is being read.
#[derive(Debug)]
struct Nesting {
    open: Vec<Frame>,
    /// The largest number of instances of any component so far, which is assumed for a component
    /// that is known by another name.
    largest: u64,
    total: u64,
    hands_on: bool,
}

/// An upper bound of the instances of modules and components that `wasm` becomes. A component that
/// is nested deeper than composition tools do is refused, because later steps are recursive.
///
/// `wasm` need not be valid: the validation reports that later.
pub(super) fn instances(wasm: &[u8]) -> Result<u64, UnusablePlugin> {
    let root = Frame { is_component: true, ..Frame::default() };
    let mut nesting = Nesting { open: vec![root], largest: 0, total: 0, hands_on: false };
    for payload in Parser::new(0).parse_all(wasm).map_while(Result::ok) {
        if nesting.read(payload).is_err() {
            break;
        }
        if nesting.open.len() > MAX_DEPTH + 1 {
            let message = format!("its components are nested more than {MAX_DEPTH} deep");
            return Err(UnusablePlugin::new(UnusableCode::TooDeep, message));
        }
    }
    if nesting.hands_on {
        let message = "a component in it takes other components as arguments, whose number and \
                       size this host cannot limit";
        return Err(UnusablePlugin::new(UnusableCode::ComponentArgument, message));
    }
    Ok(nesting.total)
}

impl Nesting {
    fn read(&mut self, payload: Payload<'_>) -> Result<()> {
        match payload {
            Payload::ModuleSection { .. } => self.open.push(Frame::default()),
            Payload::ComponentSection { .. } => {
                self.open.push(Frame { is_component: true, ..Frame::default() });
            }
            Payload::End(_) => self.close(),
            payload => {
                let nested = self.open.len() > 1;
                if let Some(here) = self.open.last_mut() {
                    self.hands_on |= here.read(payload, self.largest)? && nested;
                }
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some(closed) = self.open.pop().filter(|frame| frame.is_component) else { return };
        self.largest = self.largest.max(closed.instances);
        match self.open.last_mut() {
            Some(outer) => outer.components.push(closed.instances),
            None => self.total = closed.instances,
        }
    }
}

/// Whether one of these imports is a component.
fn imports_component(imports: ComponentImportSectionReader<'_>) -> Result<bool> {
    for import in imports {
        if matches!(import?.ty, ComponentTypeRef::Component(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Frame {
    /// Returns whether it imports a component.
    fn read(&mut self, payload: Payload<'_>, largest: u64) -> Result<bool> {
        match payload {
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    let made = matches!(instance?, Instance::Instantiate { .. });
                    self.instances = self.instances.saturating_add(made.into());
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let becomes = self.becomes(component_index, largest);
                        self.instances = self.instances.saturating_add(becomes).saturating_add(1);
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    if is_component(&alias?) {
                        self.components.push(largest);
                    }
                }
            }
            // An export is another name for what it exports.
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Component {
                        self.components.push(self.becomes(export.index, largest));
                    }
                }
            }
            Payload::ComponentImportSection(imports) => return imports_component(imports),
            _ => {}
        }
        Ok(false)
    }

    fn becomes(&self, component: u32, largest: u64) -> u64 {
        self.components.get(component as usize).copied().unwrap_or(largest)
    }
}

fn is_component(alias: &ComponentAlias<'_>) -> bool {
    matches!(
        alias,
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. }
            | ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, .. }
    )
}
