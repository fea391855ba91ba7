//! A cache of compiled code on disk, so that plugins are not compiled again after a restart.
//!
//! ```text
//! <sha-256 of the plugin>-<profile>-<hash of the engine's settings>.bin
//!     "jobwright code 2\n" · sha-256 of the rest (32 bytes) · what it takes in memory (8 bytes,
//!     little-endian) · wasmtime's artefact
//! ```
//!
//! Owns the only place that deserializes machine code. Invariant: its input comes from our own compiler,
//! either directly or through a file that no other user can write and whose hash was verified after it was
//! read. Input from users is never loaded. A file that is missing, truncated, modified, owned by another
//! user or written by another version of wasmtime is ignored.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use jobwright_core::plugin::Digest;
use tempfile::NamedTempFile;
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Precompiled};

use crate::clock;
use crate::disk::Floor;
use crate::privacy;

/// The default size limit of the cache, in bytes: room for some hundreds of large plugins.
pub const DEFAULT_MOST_BYTES: u64 = 2 << 30;

/// The suffix of file names.
const SUFFIX: &str = ".bin";

const MAGIC: &[u8] = b"jobwright code 2\n";

/// The cache; see the module documentation.
#[derive(Debug)]
pub(crate) struct CompiledCache {
    directory: PathBuf,
    most_bytes: u64,
    floor: Floor,
}

/// Deserialized machine code.
pub(crate) enum Compiled {
    /// A core module.
    Module(Module),
    /// A component.
    Component(Component),
}

/// The output of the compiler.
pub(crate) struct Loaded {
    /// The serialized code.
    pub(crate) artefact: Vec<u8>,
    /// The approximate size of the code in memory, in bytes.
    pub(crate) weight: u64,
}

/// The file name of compiled code: contains the digest of the plugin, and everything else that the code
/// depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeName(String);

impl CodeName {
    /// The name of the code that `engine` compiles for the plugin `digest`. The hash includes the version of
    /// wasmtime.
    pub(crate) fn new(digest: &Digest, profile: &str, engine: &Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self(format!("{}-{}-{:016x}{SUFFIX}", digest.hex(), profile, hasher.finish()))
    }
}

impl CompiledCache {
    /// Opens or creates `directory`, which must be on a local file system. The cache has at most `most_bytes`,
    /// and writes only while `free_bytes` are free.
    ///
    /// # Errors
    /// If it cannot be created, belongs to another user, or cannot be made private.
    pub(crate) fn open(
        directory: PathBuf,
        most_bytes: u64,
        free_bytes: u64,
    ) -> anyhow::Result<Self> {
        privacy::make_directory(&directory, |name| name.ends_with(SUFFIX))
            .with_context(|| format!("cannot cache compiled code in {}", directory.display()))?;
        let floor = Floor::new(&directory, free_bytes);
        Ok(Self { directory, most_bytes, floor })
    }

    /// Loads the code with this name, if its file exists and is valid.
    pub(crate) fn load(&self, name: &CodeName) -> Option<Loaded> {
        let path = self.directory.join(&name.0);
        let mut file = match read(&path) {
            Ok(file) => file?,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, path = %path.display(), "cannot read cached code: compiling again");
                return None;
            }
        };
        let whole = verified(&file).map(|(weight, artefact)| (weight, file.len() - artefact.len()));
        let Some((weight, start)) = whole else {
            tracing::warn!(path = %path.display(), "cached code is damaged: compiling again");
            return None;
        };
        file.drain(..start);
        Some(Loaded { artefact: file, weight })
    }

    /// Stores `artefact`, whose code takes `weight` bytes in memory, and removes the least recently used files
    /// above the size limit. Does nothing if the disk is short of space.
    ///
    /// # Errors
    /// If a file cannot be written or removed.
    pub(crate) fn store(&self, name: &CodeName, artefact: &[u8], weight: u64) -> io::Result<()> {
        if self.floor.is_reached() {
            tracing::warn!(
                code = name.0,
                "compiled code is not cached: the disk is short of space"
            );
            return Ok(());
        }
        let mut file = NamedTempFile::new_in(&self.directory)?;
        file.write_all(MAGIC)?;
        let body = [&weight.to_le_bytes(), artefact].concat();
        file.write_all(Digest::of(&body).as_bytes())?;
        file.write_all(&body)?;
        // Not synced: a file that a crash truncates does not match its hash.
        file.persist(self.directory.join(&name.0))?;
        self.evict()
    }

    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let about = match entry.metadata() {
                // Another process that uses the cache, such as `jobwright run`, renamed or removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                about => about?,
            };
            files.push((about.modified()?, about.len(), entry.path()));
        }
        files.sort();
        let mut held: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if held <= self.most_bytes {
                break;
            }
            remove(&path)?;
            held -= bytes;
        }
        Ok(())
    }
}

/// Deserializes an artefact that the compiler of the runtime has just written, or that was verified.
pub(crate) fn code(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Compiled> {
    let is_component = Engine::detect_precompiled(artefact) == Some(Precompiled::Component);
    // SAFETY: `artefact` is what `Engine::precompile_module` or `precompile_component` made,
    // unchanged: it comes from our compiler in this process, or from a file in our private directory
    // whose hash matched after it had been read into memory that no other user can write. wasmtime
    // itself refuses what was made by another version or under other settings.
    #[expect(unsafe_code, reason = "the one place that turns bytes into machine code")]
    unsafe {
        if is_component {
            Component::deserialize(engine, artefact).map(Compiled::Component)
        } else {
            Module::deserialize(engine, artefact).map(Compiled::Module)
        }
    }
}

/// Reads a file of the cache, if it exists, and sets its modification time, by which files are evicted.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let mut options = File::options();
    options.read(true);
    // The cache has no links. A link of another user could lead to another file of the host's user.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    privacy::check_trusted(&file)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // Best effort: if this fails, the file may be evicted too early.
    let _ = file.set_modified(SystemTime::from(clock::wall()));
    Ok(Some(bytes))
}

/// Verifies a file. Returns the size of the code in memory, and the artefact.
fn verified(file: &[u8]) -> Option<(u64, &[u8])> {
    let (hash, body) = file.strip_prefix(MAGIC)?.split_at_checked(32)?;
    let (weight, artefact) = body.split_first_chunk()?;
    let is_whole = Digest::of(body).as_bytes() == hash;
    is_whole.then_some((u64::from_le_bytes(*weight), artefact))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> CodeName {
        CodeName(text.to_owned())
    }

    #[test]
    fn truncated_and_modified_files_are_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let cache = CompiledCache::open(directory.path().join("code"), 1_000, 0).unwrap();
        cache.store(&name("a"), b"machine code", 7).unwrap();
        let mut file = read(&cache.directory.join("a")).unwrap().unwrap();
        assert_eq!(verified(&file), Some((7, b"machine code".as_slice())));
        for cut in 0..file.len() {
            assert_eq!(verified(&file[..cut]), None, "{cut}");
        }
        file[MAGIC.len() + 32] ^= 1;
        assert_eq!(verified(&file), None);
    }

    #[test]
    fn the_least_recently_used_file_is_removed_first() {
        let directory = tempfile::tempdir().unwrap();
        let cache = CompiledCache::open(directory.path().join("code"), 400, 0).unwrap();
        let age = |text: &str, seconds: u64| {
            let file = File::options().write(true).open(cache.directory.join(text)).unwrap();
            let when = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            file.set_modified(when).unwrap();
        };
        for (index, text) in ["a", "b", "c"].into_iter().enumerate() {
            cache.store(&name(text), &[0; 60], 60).unwrap();
            age(text, index as u64);
        }
        age("a", 10);
        cache.store(&name("d"), &[0; 60], 60).unwrap();
        let kept = ["a", "b", "c", "d"].map(|text| cache.directory.join(text).exists());
        assert_eq!(kept, [true, false, true, true]);
    }

    #[test]
    fn nothing_is_stored_on_a_disk_that_is_short_of_space() {
        let directory = tempfile::tempdir().unwrap();
        for (free_bytes, kept) in [(1, true), (u64::MAX, false)] {
            let cache = CompiledCache::open(directory.path().join("code"), 400, free_bytes);
            let cache = cache.unwrap();
            let name = name(if kept { "a" } else { "b" });
            cache.store(&name, b"machine code", 7).unwrap();
            assert_eq!(cache.directory.join(name.0).exists(), kept);
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_access_the_directory() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("code");
        fs::create_dir(&path).unwrap();
        CompiledCache::open(path.clone(), 1, 0).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_files_that_others_can_write_are_not_loaded() {
        use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
        let directory = tempfile::tempdir().unwrap();
        let cache = CompiledCache::open(directory.path().join("code"), 1_000, 0).unwrap();
        cache.store(&name("a"), b"machine code", 7).unwrap();
        let path = cache.directory.join("a");
        assert!(cache.load(&name("a")).is_some());
        symlink(&path, cache.directory.join("b")).unwrap();
        assert!(cache.load(&name("b")).is_none(), "a link");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(cache.load(&name("a")).is_none(), "others can write it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        // Only the superuser can change the owner of a file.
        if chown(&path, Some(65_534), None).is_ok() {
            assert!(cache.load(&name("a")).is_none(), "another user's");
            chown(&cache.directory, Some(65_534), None).unwrap();
            assert!(CompiledCache::open(cache.directory.clone(), 1_000, 0).is_err());
        }
    }
}
