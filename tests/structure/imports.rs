//! The modules of a crate, one for each file, and from which of the others each imports. A parent module is a
//! file too, so what children share is in a file beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::path::Path;

use anyhow::Context as _;
use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::rust_files;

/// For each module those from which it imports.
pub(super) type Imports = BTreeMap<String, BTreeSet<String>>;

/// The imports of the modules of a crate, by their paths, such as `a::b`; the root is the empty path. Unit
/// tests import as they like.
pub(super) fn of_files(source: &Path) -> anyhow::Result<Imports> {
    let mut paths = BTreeMap::new();
    for file in rust_files(source)? {
        let module = module(file.strip_prefix(source)?);
        if module.split("::").any(|part| matches!(part, "main" | "tests")) {
            continue;
        }
        let text = std::fs::read_to_string(&file)?;
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code = syn::parse_str(code).with_context(|| module.clone())?;
        let mut found = Vec::new();
        find_paths(code, &mut found);
        paths.insert(module, found);
    }
    let resolved = |module: &String| {
        let imported = paths[module].iter().filter_map(|path| resolve(&paths, module, path));
        imported.filter(|imported| imported != module).collect()
    };
    Ok(paths.keys().map(|module| (module.clone(), resolved(module))).collect())
}

/// The path of the module in `file`.
fn module(file: &Path) -> String {
    let file = file.with_extension("");
    let parts = file.components().map(|part| part.as_os_str().to_string_lossy());
    let parts: Vec<_> = parts.filter(|part| !matches!(&**part, "mod" | "lib")).collect();
    parts.join("::")
}

/// The module in which a path ends that stands in `module`.
fn resolve<T>(modules: &BTreeMap<String, T>, module: &str, path: &str) -> Option<String> {
    let mut found: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    for part in path.split("::") {
        match part {
            "crate" => found.clear(),
            "self" => {}
            "super" => drop(found.pop()),
            name => found.push(name),
        }
    }
    // A name that is not a module is an item of the module before it.
    loop {
        let path = found.join("::");
        if modules.contains_key(&path) {
            return Some(path);
        }
        found.pop()?;
    }
}

type Tokens = Peekable<IntoIter>;

/// Finds the paths that begin at the crate, at this module or at its parent. Any other may begin at a child of this
/// module; the name of another crate or of a type finds none.
fn find_paths(code: TokenStream, found: &mut Vec<String>) {
    let mut tokens = code.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) => match &*word.to_string() {
                // `pub(in crate::…)` imports nothing.
                "pub" => drop(tokens.next_if(|token| is_group(token, Delimiter::Parenthesis))),
                first @ ("crate" | "self" | "super") => follow(first, &mut tokens, found),
                child => {
                    let (child, mut paths) = (format!("self::{child}"), Vec::new());
                    follow(&child, &mut tokens, &mut paths);
                    // A single word is mostly a variable.
                    found.extend(paths.into_iter().filter(|path| *path != child));
                }
            },
            TokenTree::Group(group) => find_paths(group.stream(), found),
            _ => {}
        }
    }
}

/// Finds the paths that continue `prefix`, with braces expanded.
fn follow(prefix: &str, tokens: &mut Tokens, found: &mut Vec<String>) {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ':');
    let continues = tokens.next_if(is_colon).and_then(|_| tokens.next_if(is_colon)).is_some();
    match tokens.next_if(|_| continues) {
        Some(TokenTree::Ident(name)) => follow(&format!("{prefix}::{name}"), tokens, found),
        Some(TokenTree::Group(group)) => {
            let mut tokens = group.stream().into_iter().peekable();
            while let Some(token) = tokens.next() {
                match token {
                    TokenTree::Ident(word) if word == "as" => drop(tokens.next()),
                    TokenTree::Ident(name) => {
                        follow(&format!("{prefix}::{name}"), &mut tokens, found);
                    }
                    _ => {}
                }
            }
        }
        _ => found.push(prefix.to_owned()),
    }
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

/// The imports between the parts of a crate, which are the modules in its root, and `lib`.
pub(super) fn between_parts(imports: &Imports) -> Imports {
    let part = |module: &str| match module.split("::").next() {
        Some("") | None => "lib".to_owned(),
        Some(part) => part.to_owned(),
    };
    let mut parts = Imports::new();
    for (module, imported) in imports {
        let from = part(module);
        let imported = imported.iter().map(|to| part(to)).filter(|to| *to != from);
        parts.entry(from.clone()).or_default().extend(imported);
    }
    parts
}

/// The modules that are in a circle, which import from each other directly or through others, each with those
/// of its circle that it imports from.
pub(super) fn circles(imports: &Imports) -> Imports {
    let mut circles = Imports::new();
    for (module, imported) in imports {
        let back = imported.iter().filter(|to| reached(imports, to).contains(module.as_str()));
        let back: BTreeSet<String> = back.cloned().collect();
        if !back.is_empty() {
            circles.insert(module.clone(), back);
        }
    }
    circles
}

/// The modules from which a module imports, directly or through others.
fn reached<'a>(imports: &'a Imports, from: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        next.extend(imports[module].iter().map(|to| &**to).filter(|to| reached.insert(*to)));
    }
    reached
}
