//! The file of `--key-value`: the stored values of a plugin, from one `run` to the next.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jobwright_core::grant::KeyValueGrant;
use jobwright_core::plugin::PluginName;
use jobwright_core::services::KeyValueCall;
use jobwright_core::tenant::TenantName;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::exit::Fault;
use crate::services::values::Values;

/// The owner of the values.
type Owner<'a> = (&'a TenantName, &'a PluginName);

/// The path of the file.
#[derive(Debug)]
pub(super) struct ValueFile(PathBuf);

/// A value in the file: a string if it is UTF-8, else base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes { base64: String },
}

/// Values by bucket and key.
type Buckets = BTreeMap<String, BTreeMap<String, Value>>;

impl Value {
    fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Bytes { base64: STANDARD.encode(error.as_bytes()) },
        }
    }

    fn into_bytes(self) -> Result<Bytes, base64::DecodeError> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Bytes { base64 } => STANDARD.decode(base64).map(Into::into),
        }
    }
}

impl ValueFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Replaces the values of `owner` by those of the file. A missing file has none.
    ///
    /// # Errors
    /// If the file cannot be read or parsed, or its values exceed the grant.
    pub(super) async fn load(
        &self,
        values: &Values,
        owner: Owner<'_>,
        grant: Option<KeyValueGrant>,
    ) -> anyhow::Result<()> {
        let shown = self.0.display();
        let refused = |why: String| Fault::Data.failure(format!("the values in {shown}: {why}"));
        let buckets = self.read()?;
        values.remove(owner.0, owner.1).await.map_err(|error| refused(error.to_string()))?;
        for (bucket, entries) in buckets {
            for (key, value) in entries {
                let value =
                    value.into_bytes().map_err(|error| refused(format!("{key}: {error}")))?;
                let call = KeyValueCall::Set { bucket: bucket.clone(), key: key.clone(), value };
                let kept = values.call(owner.0, owner.1, grant, call).await;
                kept.map_err(|error| refused(format!("{key}: {error}")))?;
            }
        }
        Ok(())
    }

    /// Writes the values of `owner` to the file, atomically.
    ///
    /// # Errors
    /// If the values cannot be read, or the file cannot be written.
    pub(super) async fn save(&self, values: &Values, owner: Owner<'_>) -> anyhow::Result<()> {
        let failed = || format!("cannot write the values to {}", self.0.display());
        let mut buckets = Buckets::new();
        for (bucket, key, value) in values.entries(owner.0, owner.1).await? {
            buckets.entry(bucket).or_default().insert(key, Value::new(value));
        }
        let mut json = serde_json::to_vec_pretty(&buckets)?;
        json.push(b'\n');
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut file =
            NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(failed)?;
        file.write_all(&json).with_context(failed)?;
        file.persist(&self.0).with_context(failed)?;
        Ok(())
    }

    fn read(&self) -> anyhow::Result<Buckets> {
        let shown = self.0.display();
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Buckets::new()),
            Err(error) => {
                let failure = Fault::NoInput.failure(format!("cannot read the values in {shown}"));
                return Err(anyhow::Error::from(error).context(failure));
            }
        };
        let wrong = |error| {
            Fault::Data.failure(format!(
                "the values in {shown} are not JSON such as {{\"bucket\": {{\"key\": \"value\"}}}}: \
                 {error}"
            ))
        };
        Ok(serde_json::from_slice(&text).map_err(wrong)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::values::Bounds;

    #[tokio::test]
    async fn values_go_from_the_file_to_the_plugin_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = ValueFile::new(folder.path().join("kept.json"));
        let bounds = Bounds { most_bytes: 1 << 20, free_bytes: 0 };
        let values = Values::open(folder.path(), bounds).unwrap();
        let (tenant, plugin) = (TenantName::default(), "p".parse().unwrap());
        let grant = Some(KeyValueGrant { bytes: 1000 });
        file.load(&values, (&tenant, &plugin), grant).await.expect("a missing file has none");
        let json = r#"{"default": {"a": "text", "b": {"base64": "/w=="}}, "other": {"a": "7"}}"#;
        std::fs::write(&file.0, json).unwrap();
        file.load(&values, (&tenant, &plugin), grant).await.expect("values");
        file.save(&values, (&tenant, &plugin)).await.expect("written");
        let (before, after): (Buckets, Buckets) =
            (serde_json::from_str(json).unwrap(), file.read().unwrap());
        assert_eq!(before, after);
        let small = Some(KeyValueGrant { bytes: 10 });
        let error = file.load(&values, (&tenant, &plugin), small).await.expect_err("no room");
        assert!(error.to_string().contains("kept.json: "), "{error:#}");
        std::fs::write(&file.0, "[]").unwrap();
        assert!(file.load(&values, (&tenant, &plugin), grant).await.is_err());
    }
}
