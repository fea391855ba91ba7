//! The file of the key from which the random numbers of guests are derived.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use anyhow::Context as _;
use jobwright_core::seed::SeedKey;

/// The name of the file in the data directory: 64 hex digits.
pub(super) const FILE: &str = "seed.key";

/// The key of this data directory, which is made at its first use. A directory that has lost it gets
/// another one: what attempts had is recorded with them, and only the next attempts at deterministic
/// jobs see other random numbers than the ones before.
///
/// # Errors
/// With what to do, if the file cannot be read or written.
pub(crate) fn seed_key(directory: &Path) -> anyhow::Result<SeedKey> {
    let path = directory.join(FILE);
    let shown = || format!("cannot use the key of the guests' random numbers, {}", path.display());
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).with_context(shown),
        Err(error) if error.kind() == ErrorKind::NotFound => make(&path).with_context(shown),
        Err(error) => Err(error).with_context(shown),
    }
}

fn parse(text: &str) -> anyhow::Result<SeedKey> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim_end(), &mut bytes)
        .context("it is not 64 hex digits: restore the file, or remove it to create a new key")?;
    Ok(SeedKey::new(bytes))
}

fn make(path: &Path) -> Result<SeedKey, Error> {
    let key = SeedKey::new(rand::random());
    match super::write(path, format!("{}\n", hex::encode(key.reveal())).as_bytes()) {
        // A host starts on a full disk, so that its jobs can be finished.
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            tracing::warn!(
                "the disk is full: the key of the guests' random numbers is new, and is lost when \
                 this host stops"
            );
        }
        written => written?,
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_key_and_two_have_two() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = seed_key(one.path()).unwrap();
        assert_eq!(seed_key(one.path()).unwrap(), key);
        assert_ne!(seed_key(two.path()).unwrap(), key);
    }

    #[test]
    fn a_file_that_is_no_key_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "abcdefgh").unwrap();
        let error = format!("{:#}", seed_key(folder.path()).unwrap_err());
        assert!(error.contains("seed.key") && error.contains("64 hex digits"), "{error}");
        assert!(!error.contains("abcdefgh"), "{error}");
    }
}
