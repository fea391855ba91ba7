//! The declarations of a component: its interfaces, and the memories and tables of the modules in
//! it.

use jobwright_core::name::shorten;
use jobwright_core::plugin::Abi;
use jobwright_core::runtime::{UnusableCode, UnusablePlugin};
use wasmparser::{ComponentExternalKind, Parser, Payload, Result};

use super::super::abi::job::world;
use super::super::abi::offer::{interfaces, of_component};
use super::super::abi::versions::{is_release_of, version_of, versions_of};
use super::super::abi::{command_p2, http};
use super::names::{exported, some_of};
use super::sizes::Sizes;

/// The declarations that decide whether a component can run here.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    pub(super) imports: Vec<ComponentImport<'a>>,
    pub(super) exports: Vec<&'a str>,
    pub(super) sizes: Sizes,
    /// Whether it exports anything but types, or has code.
    is_more_than_types: bool,
}

/// An import of a component.
#[derive(Debug)]
pub(super) struct ComponentImport<'a> {
    pub(super) name: &'a str,
    kind: ComponentExternalKind,
}

impl<'a> Outline<'a> {
    /// Reads `wasm`, which was validated.
    pub(super) fn read(wasm: &'a [u8]) -> Result<Self> {
        let mut outline = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        let import = import?;
                        let kind = import.ty.kind();
                        outline.imports.push(ComponentImport { name: import.name.name, kind });
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export?;
                        outline.is_more_than_types |= export.kind != ComponentExternalKind::Type;
                        outline.exports.push(export.name.name);
                    }
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    outline.is_more_than_types = true;
                    depth += 1;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                payload => outline.sizes.add(payload)?,
            }
        }
        Ok(outline)
    }

    /// The kind of plugin, by the exports.
    pub(super) fn abi(&self) -> Result<Abi, UnusablePlugin> {
        self.check_has_code()?;
        self.check_world()?;
        if let Some(abi) = of_component(self.exports.iter().copied()) {
            return Ok(abi);
        }
        let (run, handler) = (command_p2::ENTRY_POINT, http::ENTRY_POINT);
        let in_another = |export: &&&str| {
            let interface = export.split('@').next().unwrap_or_default();
            // The last is WASI 0.3's name for the second.
            [run, handler, "wasi:http/handler"].contains(&interface)
        };
        if let Some(export) = self.exports.iter().find(in_another) {
            let message = format!(
                "it exports `{}`, but this host has the releases of WASI 0.2 (for Rust: build for \
                 wasm32-wasip2)",
                shorten(export)
            );
            return Err(UnusablePlugin::new(UnusableCode::WasiVersion, message));
        }
        let message = format!(
            "it exports neither `{run}` nor `{handler}` of WASI 0.2 nor `{}@{}`, but {}; this host \
             runs components that are WASI commands, answer HTTP requests or are typed jobs",
            world::ENTRY_POINT,
            version_of(world::ENTRY_POINT),
            exported(self.exports.iter().copied())
        );
        Err(UnusablePlugin::new(UnusableCode::NoEntryPoint, message))
    }

    /// Refuses a WIT package: the files of `wasm-tools component wit --wasm` and of registries of
    /// interfaces are components too, which export each interface and world as a type.
    fn check_has_code(&self) -> Result<(), UnusablePlugin> {
        if self.is_more_than_types || self.exports.is_empty() {
            return Ok(());
        }
        let message = format!(
            "it is a WIT package, which describes interfaces and worlds ({}) and has no code: upload a \
             component that implements a world",
            exported(self.exports.iter().copied())
        );
        Err(UnusablePlugin::new(UnusableCode::WitPackage, message))
    }

    /// Refuses a typed job of another version: it is a command too, and must not run as one.
    fn check_world(&self) -> Result<(), UnusablePlugin> {
        let world = world::ENTRY_POINT;
        let other = |export: &&&str| {
            export.split('@').next() == Some(world) && !is_release_of(world, export)
        };
        let Some(export) = self.exports.iter().find(other) else { return Ok(()) };
        let message = format!(
            "it exports `{}`, but this host has `{world}` of {}: build it with the SDK of one of \
             these versions",
            shorten(export),
            versions_of(world).join(" or ")
        );
        Err(UnusablePlugin::new(UnusableCode::WorldVersion, message))
    }

    /// Refuses imports that this host does not have. The functions of an interface are compared
    /// when the component is linked: releases of one version agree on them.
    pub(super) fn check_imports(&self) -> Result<(), UnusablePlugin> {
        let faults: Vec<_> = self.imports.iter().filter_map(fault).collect();
        let Some(faults) = some_of(faults.into_iter()) else { return Ok(()) };
        let packages: Vec<_> = interfaces().map(|(package, _)| package).collect();
        let message = format!(
            "it imports interfaces that this host does not have: {faults}; this host has \
             interfaces of {}",
            packages.join(", ")
        );
        Err(UnusablePlugin::new(UnusableCode::UnknownImport, message))
    }
}

/// The refusal of `wasm` if it is a WIT package. It need not be valid here.
pub(super) fn wit_package(wasm: &[u8]) -> Option<UnusablePlugin> {
    Outline::read(wasm).ok()?.check_has_code().err()
}

/// Why this host does not have an import, if it has not.
fn fault(ComponentImport { name, kind }: &ComponentImport<'_>) -> Option<String> {
    let shown = shorten(name);
    if *kind != ComponentExternalKind::Instance {
        return Some(format!("the {} `{shown}` (only interfaces are)", kind.desc()));
    }
    let interface = name.split('@').next().unwrap_or_default();
    let offered = interfaces().any(|(package, interfaces)| {
        let rest = interface.strip_prefix(package).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| interfaces.contains(&rest))
    });
    match offered {
        true if is_release_of(interface, name) => None,
        true => {
            let versions = versions_of(interface).join(" or ");
            Some(format!("`{shown}` (here it is of {versions})"))
        }
        false => Some(format!("`{shown}`")),
    }
}

impl Sizes {
    fn add(&mut self, payload: Payload<'_>) -> Result<()> {
        match payload {
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.add_memory(&memory?);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    self.add_table(&table?);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
