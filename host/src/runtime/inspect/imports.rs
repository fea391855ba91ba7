//! The functions that core modules can import, and the check of an upload's imports.

use std::collections::{BTreeMap, HashMap};

use jobwright_core::name::shorten;
use jobwright_core::runtime::{UnusableCode, UnusablePlugin};
use wasmtime::{Extern, Linker, Store};

use super::super::guest::Guest;
use super::module::Wanted;
use super::names::some_of;

/// Every function that a core module may import, with its signature.
#[derive(Debug)]
pub(in super::super) struct Offer {
    functions: HashMap<String, HashMap<String, String>>,
    summary: String,
}

impl Offer {
    /// The functions of `linker`. `idle` is a guest that never runs.
    pub(in super::super) fn new(linker: &Linker<Guest>, idle: Guest) -> Self {
        let mut store = Store::new(linker.engine(), idle);
        let mut functions: HashMap<String, HashMap<String, String>> = HashMap::new();
        let all: Vec<_> = linker
            .iter(&mut store)
            .filter_map(|(module, name, item)| match item {
                Extern::Func(function) => Some((module.to_owned(), name.to_owned(), function)),
                _ => None,
            })
            .collect();
        for (module, name, function) in all {
            let ty = function.ty(&store);
            functions.entry(module).or_default().insert(name, signature(&ty));
        }
        let counts: BTreeMap<_, _> = functions.iter().map(|(m, f)| (m, f.len())).collect();
        let counts: Vec<_> = counts.iter().map(|(m, n)| format!("{m} ({n} functions)")).collect();
        Self { functions, summary: counts.join(", ") }
    }

    /// Refuses imports that this host does not have.
    pub(super) fn check(&self, wanted: &[Wanted<'_>]) -> Result<(), UnusablePlugin> {
        let faults: Vec<_> = wanted.iter().filter_map(|wanted| self.fault(wanted)).collect();
        match some_of(faults.into_iter()) {
            None => Ok(()),
            Some(faults) => Err(UnusablePlugin::new(
                UnusableCode::UnknownImport,
                format!(
                    "it imports functions that this host does not have: {faults}; this host has \
                     {}",
                    self.summary
                ),
            )),
        }
    }

    fn fault(&self, wanted: &Wanted<'_>) -> Option<String> {
        let (name, module) = (shorten(wanted.name), shorten(wanted.module));
        let wanted_type = match &wanted.shape {
            Ok(signature) => signature,
            Err(kind) => {
                return Some(format!("the {kind} `{name}` from `{module}` (only functions are)"));
            }
        };
        match self.functions.get(wanted.module).and_then(|all| all.get(wanted.name)) {
            Some(offered) if offered == wanted_type => None,
            Some(offered) => Some(format!(
                "`{name}` from `{module}` as {} (here it is {offered})",
                shorten(wanted_type)
            )),
            None => Some(format!("`{name}` from `{module}`")),
        }
    }
}

fn signature(ty: &wasmtime::FuncType) -> String {
    let list = |types: &mut dyn Iterator<Item = wasmtime::ValType>| {
        types.map(|ty| ty.to_string()).collect::<Vec<_>>().join(", ")
    };
    format!("({}) -> ({})", list(&mut ty.params()), list(&mut ty.results()))
}
