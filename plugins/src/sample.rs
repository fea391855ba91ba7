//! Samples: payloads of a plugin, and the expected results. They are found by their names, so a new
//! plugin or sample needs no code.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::places::{entries, name_of};

/// A payload, and its expected result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The name of its files, without the extension.
    pub name: String,
    /// The file with the payload.
    pub payload: PathBuf,
    /// Arguments for the plugin: the words of the file `NAME.args`.
    pub args: Vec<String>,
    /// The expected result.
    pub expected: Expected,
}

/// How the job of a [`Sample`] ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It succeeds, and outputs the bytes of this file, `NAME.out`.
    Output(PathBuf),
    /// It fails, with this line in its log or response: that of the file `NAME.err`.
    Failure(String),
}

/// The samples in `folder`: each has a payload with any extension, and a file with the expected
/// result.
pub(crate) fn samples(folder: &Path) -> Vec<Sample> {
    let has = |path: &Path, extension: &str| path.extension() == Some(OsStr::new(extension));
    let expected = entries(folder, |path| has(path, "out") || has(path, "err"));
    let sample = |path: PathBuf| {
        let stem = path.file_stem();
        let of_the_same_name = entries(folder, |other| other.file_stem() == stem);
        let payload = of_the_same_name
            .into_iter()
            .find(|other| !["args", "err", "out"].iter().any(|extension| has(other, extension)))?;
        let words = fs::read_to_string(path.with_extension("args")).unwrap_or_default();
        let said = || fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
        Some(Sample {
            name: name_of(&path.with_extension("")),
            payload,
            args: words.split_whitespace().map(str::to_owned).collect(),
            expected: if has(&path, "err") {
                Expected::Failure(said())
            } else {
                Expected::Output(path)
            },
        })
    };
    expected.into_iter().filter_map(sample).collect()
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn a_sample_is_a_payload_and_its_expected_result() {
        let folder = env::temp_dir().join(format!("jobwright-samples-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let files = ["a.csv", "a.out", "a.args", "b.json", "b.err", "c.txt", "d.out"];
        for (name, text) in files.iter().zip(["1,2", "3", "-x 4", "{", "no good\n", "", ""]) {
            fs::write(folder.join(name), text).unwrap();
        }
        let found = samples(&folder);
        let [a, b] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((a.name.as_str(), &a.payload), ("a", &folder.join("a.csv")));
        assert_eq!(a.args, ["-x", "4"]);
        assert_eq!(a.expected, Expected::Output(folder.join("a.out")));
        assert_eq!((b.name.as_str(), &b.payload), ("b", &folder.join("b.json")));
        assert_eq!(b.expected, Expected::Failure("no good".into()));
        fs::remove_dir_all(&folder).unwrap();
    }
}
