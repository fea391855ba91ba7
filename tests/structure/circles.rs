//! Circles of files: files that import from each other, directly or through others. A parent module is a
//! file too, so what children share is in a file beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::rust_files;

/// The files of a crate by the path of their module, as `a::b`; the root is the empty path.
struct Modules(BTreeMap<String, String>);

impl Modules {
    fn of(source: &Path) -> anyhow::Result<Self> {
        let mut modules = BTreeMap::new();
        for file in rust_files(source)? {
            let text = std::fs::read_to_string(&file)?;
            let path = file.strip_prefix(source)?.with_extension("");
            let mut parts: Vec<_> =
                path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            parts.retain(|part| !matches!(&**part, "mod" | "lib"));
            // Binaries and tests import as they like.
            if !parts.iter().any(|part| matches!(&**part, "main" | "tests")) {
                modules.insert(parts.join("::"), without_tests(&text));
            }
        }
        Ok(Self(modules))
    }

    /// The modules from which `module` imports.
    fn imports(&self, module: &str) -> BTreeSet<&str> {
        let paths = self.0.get(module).map(|text| paths(text)).unwrap_or_default();
        let imports = paths.iter().filter_map(|path| self.resolve(module, path));
        imports.filter(|found| *found != module).collect()
    }

    /// The module in which a path ends that stands in `module`.
    fn resolve(&self, module: &str, path: &str) -> Option<&str> {
        let mut found: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
        let mut parts = path.split("::").peekable();
        if parts.peek() == Some(&"crate") {
            found.clear();
        }
        for part in parts {
            match part {
                "crate" | "self" => {}
                "super" => drop(found.pop()),
                name => found.push(name),
            }
        }
        // What is no module is an item of the module before it.
        loop {
            if let Some((found, _)) = self.0.get_key_value(&found.join("::")) {
                return Some(found);
            }
            found.pop()?;
        }
    }
}

/// The text without comments, and without what follows the first `#[cfg(test)]` module.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths in code that begin at the crate, at this module or at its parent.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("::") {
        let before = &text[..at];
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        let (first, ahead) = (&before[start..], before[..start].trim_end());
        let begins = matches!(first, "crate" | "self" | "super") && !ahead.ends_with("::");
        // `pub(in crate::…)` names who sees it.
        if begins && !ahead.ends_with("in") {
            expand(first, &text[at + 2..], &mut found);
        }
    }
    found
}

/// The paths that go on from `prefix` with the text behind it, with braces expanded.
fn expand(prefix: &str, text: &str, found: &mut Vec<String>) {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if !name.is_empty() {
        let path = format!("{prefix}::{name}");
        match rest.strip_prefix("::") {
            Some(rest) => expand(&path, rest, found),
            None => found.push(path),
        }
    } else if let Some(inner) = rest.strip_prefix('{') {
        let (mut depth, mut begin) = (0, 0);
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    let part = inner[begin..at].trim();
                    if !part.is_empty() {
                        expand(prefix, part, found);
                    }
                    begin = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
    } else {
        found.push(prefix.to_owned());
    }
}

/// The files below `source` that are in a circle, each with those of its circle that it imports from.
pub(super) fn circles(source: &Path) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let modules = Modules::of(source)?;
    let edges: BTreeMap<&str, BTreeSet<&str>> =
        modules.0.keys().map(|module| (&**module, modules.imports(module))).collect();
    let reach = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for target in &edges[module] {
                if seen.insert(*target) {
                    next.push(target);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|module| (*module, reach(module))).collect();
    let mut circles = BTreeMap::new();
    for (module, targets) in &edges {
        let back = targets.iter().filter(|target| reached[*target].contains(module));
        let back: BTreeSet<String> = back.map(|target| (*target).to_owned()).collect();
        if !back.is_empty() {
            circles.insert((*module).to_owned(), back);
        }
    }
    Ok(circles)
}
