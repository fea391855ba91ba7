//! The file of the key from which the random numbers of guests derive.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use anyhow::Context as _;
use jobwright_core::seed::SeedKey;

/// The name of the file in the data directory: 64 hex digits.
pub(super) const FILE: &str = "seed.key";

/// The key of this data directory, which is created at its first use. If the file is lost, a new key is
/// created: the seeds of attempts are recorded with them, so only later attempts of deterministic jobs get
/// other random numbers than the earlier ones.
///
/// # Errors
/// If the file cannot be read or written.
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
    match super::durable::write(path, format!("{}\n", hex::encode(key.reveal())).as_bytes()) {
        // A host starts on a full disk, so that it can finish its jobs.
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
    fn each_directory_keeps_a_key_of_its_own() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = seed_key(one.path()).unwrap();
        assert_eq!(seed_key(one.path()).unwrap(), key);
        assert_ne!(seed_key(two.path()).unwrap(), key);
    }

    #[test]
    fn an_invalid_file_is_named_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "abcdefgh").unwrap();
        let error = format!("{:#}", seed_key(folder.path()).unwrap_err());
        assert!(error.contains("seed.key") && error.contains("64 hex digits"), "{error}");
        assert!(!error.contains("abcdefgh"), "{error}");
    }
}
