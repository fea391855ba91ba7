//! The declarations of a module: read from its first sections, without its code.

use jobwright_core::name::shorten;
use jobwright_core::plugin::Abi;
use jobwright_core::runtime::{UnusableCode, UnusablePlugin};
use wasmparser::{
    CompositeInnerType, ExportSectionReader, ExternalKind, FuncType, Import, Parser, Payload,
    Result, SubType, TypeRef,
};

use super::super::abi::command_p1::ENTRY_POINT;
use super::super::abi::extism::names::{ENV, is_entry_point};
use super::names::{exported, listed};
use super::sizes::Sizes;

/// The declarations that decide whether a module can run here.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    pub(super) imports: Vec<Wanted<'a>>,
    /// Its exports: names, and the signatures of functions.
    pub(super) exports: Vec<(&'a str, String)>,
    pub(super) sizes: Sizes,
}

/// An import.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    /// The signature of a function; of anything else its kind.
    pub(super) shape: Result<String, &'static str>,
}

#[derive(Default)]
struct Functions {
    types: Vec<Option<String>>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
}

/// The signature of a type, if it is one of functions.
fn function_type(ty: &SubType) -> Option<String> {
    match &ty.composite_type.inner {
        CompositeInnerType::Func(ty) => Some(signature(ty)),
        _ => None,
    }
}

impl<'a> Outline<'a> {
    /// Reads `wasm`, which was validated.
    pub(super) fn read(wasm: &'a [u8]) -> Result<Self> {
        let mut outline = Self::default();
        let mut functions = Functions::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        functions.types.extend(group?.into_types().map(|ty| function_type(&ty)));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        outline.imports.push(functions.import(&import?));
                    }
                }
                Payload::FunctionSection(types) => {
                    for ty in types {
                        functions.functions.push(ty?);
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        outline.sizes.add_table(&table?);
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        outline.sizes.add_memory(&memory?);
                    }
                }
                Payload::ExportSection(exports) => {
                    outline.add_exports(exports, &functions)?;
                    // Only the start function, elements, code and data follow.
                    break;
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    fn add_exports(
        &mut self,
        exports: ExportSectionReader<'a>,
        functions: &Functions,
    ) -> Result<()> {
        for export in exports {
            let export = export?;
            self.exports.push((export.name, functions.export(export.kind, export.index)));
        }
        Ok(())
    }

    /// The kind of plugin, and the entry points that a job can choose.
    pub(super) fn called(&self) -> std::result::Result<(Abi, Vec<String>), UnusablePlugin> {
        if self.imports.iter().any(|wanted| wanted.module == ENV) {
            return self.entrypoints().map(|found| (Abi::Extism, found));
        }
        let start = self.exports.iter().find(|(name, _)| *name == ENTRY_POINT);
        let message = match start.map(|(_, shape)| shape) {
            Some(signature) if signature == "() -> ()" => return Ok((Abi::WasiCommandP1, vec![])),
            Some(signature) => format!(
                "its export `{ENTRY_POINT}` is {}; a function () -> () is expected",
                shorten(signature)
            ),
            None => format!(
                "it exports no `{ENTRY_POINT}`, but {}; this host runs WASI commands (core modules \
                 that export a function `{ENTRY_POINT}`: build a program with `main`, not a \
                 library), Extism plug-ins and components of WASI 0.2",
                exported(self.names())
            ),
        };
        Err(UnusablePlugin::new(UnusableCode::NoEntryPoint, message))
    }

    /// The entry points of an Extism plug-in.
    fn entrypoints(&self) -> std::result::Result<Vec<String>, UnusablePlugin> {
        let callable = |(name, shape): &&(&str, String)| is_entry_point(name, shape);
        let found: Vec<_> = self.exports.iter().filter(callable).map(|(name, _)| *name).collect();
        // If there are other functions, a program's own entry point only prepares for them, so it
        // is no choice.
        let others = found.iter().filter(|name| found.len() == 1 || **name != ENTRY_POINT);
        let found = listed(others.map(|name| (*name).to_owned()));
        if found.is_empty() {
            let message = format!(
                "it exports no function () -> () or () -> (i32) that a job could call, but {}",
                exported(self.names())
            );
            return Err(UnusablePlugin::new(UnusableCode::NoEntryPoint, message));
        }
        Ok(found)
    }

    /// The names of its exports.
    fn names(&self) -> impl ExactSizeIterator<Item = &'a str> {
        self.exports.iter().map(|(name, _)| *name)
    }
}

impl Functions {
    fn import<'a>(&mut self, import: &Import<'a>) -> Wanted<'a> {
        let shape = match import.ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                self.functions.push(ty);
                Ok(self.type_of(ty))
            }
            TypeRef::Table(_) => Err("table"),
            TypeRef::Memory(_) => Err("memory"),
            TypeRef::Global(_) => Err("global"),
            TypeRef::Tag(_) => Err("tag"),
        };
        Wanted { module: import.module, name: import.name, shape }
    }

    fn export(&self, kind: ExternalKind, index: u32) -> String {
        match (kind, self.functions.get(index as usize)) {
            (ExternalKind::Func, Some(ty)) => self.type_of(*ty),
            _ => "no function".to_owned(),
        }
    }

    fn type_of(&self, index: u32) -> String {
        let known = self.types.get(index as usize).cloned().flatten();
        known.unwrap_or_else(|| "an unknown type".to_owned())
    }
}

/// A signature as people write it: `(i32, i64) -> (i32)`.
fn signature(ty: &FuncType) -> String {
    let list = |types: &[wasmparser::ValType]| {
        types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    format!("({}) -> ({})", list(ty.params()), list(ty.results()))
}
