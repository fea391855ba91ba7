//! What a module declares: read from its first sections, nothing of its code.

use wasmparser::{
    CompositeInnerType, ExternalKind, FuncType, Import, Parser, Payload, Result, TypeRef,
};

use super::super::abi::command_p1::ENTRY_POINT;
use super::sizes::Sizes;

/// The declarations that decide whether a module can run here.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    pub(super) imports: Vec<Wanted<'a>>,
    pub(super) exports: Vec<&'a str>,
    /// What `_start` is: a signature, or another kind.
    pub(super) entry_point: Option<String>,
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

impl<'a> Outline<'a> {
    /// Reads `wasm`, which was validated.
    pub(super) fn read(wasm: &'a [u8]) -> Result<Self> {
        let mut outline = Self::default();
        let mut functions = Functions::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        functions.types.extend(group?.into_types().map(|ty| {
                            match ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => Some(signature(&ty)),
                                _ => None,
                            }
                        }));
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let wanted = functions.import(&import?);
                        outline.imports.push(wanted);
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
                    for export in exports {
                        let export = export?;
                        if export.name == ENTRY_POINT {
                            outline.entry_point = Some(functions.export(export.kind, export.index));
                        }
                        outline.exports.push(export.name);
                    }
                    // What follows is the start function, elements, code and data.
                    break;
                }
                _ => {}
            }
        }
        Ok(outline)
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
