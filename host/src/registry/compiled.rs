//! Compiled code on disk, so that a restart or a job after a while need not compile again.
//!
//! ```text
//! <sha-256 of the plugin>-<profile>-<hash of the engine's settings>.bin
//!     "jobwright code 2\n" · sha-256 of the rest (32 bytes) · what it takes in memory (8 bytes,
//!     little-endian) · wasmtime's artefact
//! ```
//!
//! Owns the only place where machine code is taken from bytes. Invariant: those bytes come from our
//! own compiler, either directly or through a file of ours in a directory of ours that no other user can
//! write, which is verified against its hash after it was read; nothing that a user supplied is ever
//! loaded. A file that is missing, cut short, changed, of another user or of another wasmtime is as good
//! as none.

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

/// How much compiled code is kept when nobody says otherwise: some hundreds of large plugins.
pub const DEFAULT_MOST_BYTES: u64 = 2 << 30;

/// How the files' names end.
const SUFFIX: &str = ".bin";

const MAGIC: &[u8] = b"jobwright code 2\n";

/// The directory.
#[derive(Debug)]
pub(crate) struct CompiledCache {
    directory: PathBuf,
    most_bytes: u64,
    floor: Floor,
}

/// What machine code was taken from bytes.
pub(crate) enum Compiled {
    /// Of a core module.
    Module(Module),
    /// Of a component.
    Component(Component),
}

/// What the compiler wrote.
pub(crate) struct Loaded {
    /// As bytes.
    pub(crate) artefact: Vec<u8>,
    /// About what it takes in memory, in bytes.
    pub(crate) weight: u64,
}

/// Names one piece of compiled code: a plugin, and everything that its code depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeName(String);

impl CodeName {
    /// The name of what `engine` makes of the plugin `digest`. wasmtime's own version is part of
    /// what is hashed.
    pub(crate) fn new(digest: &Digest, profile: &str, engine: &Engine) -> Self {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self(format!("{}-{}-{:016x}{SUFFIX}", digest.hex(), profile, hasher.finish()))
    }
}

impl CompiledCache {
    /// Opens or makes `directory`, which must be on a disk of this machine, for at most `most_bytes`
    /// and while `free_bytes` stay free.
    ///
    /// # Errors
    /// If it cannot be made, belongs to another user, or cannot be kept from others.
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

    /// The code with this name, if it is here and whole.
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

    /// Keeps `artefact`, which takes `weight` bytes in memory, and removes what was not used for
    /// longest if there is too much. Keeps nothing if the disk is short of space.
    ///
    /// # Errors
    /// If it cannot be written.
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
        // Not synced: what a crash leaves of it does not match its hash.
        file.persist(self.directory.join(&name.0))?;
        self.evict()
    }

    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let about = entry.metadata()?;
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

/// The code in an artefact that the runtime's compiler has just made, or that was verified.
pub(crate) fn code(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Compiled> {
    let is_component = Engine::detect_precompiled(artefact) == Some(Precompiled::Component);
    // SAFETY: `artefact` is what `Engine::precompile_module` or `precompile_component` made,
    // unchanged: it comes from our compiler in this process, or from a file in our private directory
    // whose hash matched after it had been read into memory that nobody else can write. wasmtime
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

/// The bytes of our file, if there is one. Marks it as used.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let mut options = File::options();
    options.read(true);
    // We write no links: another user's may lead to a file of ours that is no compiled code.
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
    // Best effort: if the mark fails, the file is only removed earlier than it might be.
    let _ = file.set_modified(SystemTime::from(clock::wall()));
    Ok(Some(bytes))
}

/// What is in a whole file: what the code takes in memory, and the artefact.
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
    fn only_a_whole_file_is_verified() {
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
    fn what_was_not_used_for_longest_goes_first() {
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
    fn a_disk_that_is_short_of_space_gets_none() {
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
    fn the_directory_is_ours_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("code");
        fs::create_dir(&path).unwrap();
        CompiledCache::open(path.clone(), 1, 0).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[cfg(unix)]
    #[test]
    fn only_a_file_that_is_ours_is_used() {
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
        // Only the superuser can give files away.
        if chown(&path, Some(65_534), None).is_ok() {
            assert!(cache.load(&name("a")).is_none(), "another user's");
            chown(&cache.directory, Some(65_534), None).unwrap();
            assert!(CompiledCache::open(cache.directory.clone(), 1_000, 0).is_err());
        }
    }
}
