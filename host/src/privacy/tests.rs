use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").mode() & 0o7777
}

fn is_ours(name: &str) -> bool {
    name == "ours"
}

#[test]
fn an_existing_directory_becomes_private_if_it_is_empty_or_ours() {
    for entries in [&[][..], &["ours"], &["ours", "other"], &["lost+found"]] {
        let folder = tempfile::tempdir().unwrap();
        entries.iter().for_each(|name| fs::create_dir(folder.path().join(name)).unwrap());
        fs::write(folder.path().join("keys"), "").unwrap();
        set_mode(folder.path(), 0o755);
        make_directory(folder.path(), is_ours).unwrap();
        assert_eq!(mode(folder.path()), 0o700, "{entries:?}");
    }
}

#[test]
fn a_directory_with_other_directories_is_refused_unless_it_is_private() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("dpkg")).unwrap();
    set_mode(folder.path(), 0o1777);
    let error = make_directory(folder.path(), is_ours).unwrap_err().to_string();
    assert!(error.contains("1777") && error.contains("`dpkg`"), "{error}");
    assert_eq!(mode(folder.path()), 0o1777);
    set_mode(folder.path(), 0o700);
    make_directory(folder.path(), is_ours).unwrap();
}

#[test]
fn everything_in_a_directory_is_tightened_except_the_targets_of_links() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (inner, file) = (folder.path().join("inner"), folder.path().join("inner/file"));
    fs::create_dir(&inner).unwrap();
    fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), inner.join("link")).unwrap();
    for path in [&*inner, &file, elsewhere.path()] {
        set_mode(path, 0o755);
    }
    tighten(&inner).unwrap();
    assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
    assert_eq!(mode(elsewhere.path()), 0o755);
}

#[test]
fn what_is_removed_meanwhile_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    tighten(&folder.path().join("jobs.db-wal")).unwrap();
}

#[test]
fn a_temporary_folder_is_private() {
    assert_eq!(mode(temporary_folder().unwrap().path()), 0o700);
}

#[test]
fn a_file_that_others_can_read_or_write_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (allowed, mode) in [(true, 0o600), (true, 0o400), (false, 0o640), (false, 0o602)] {
        set_mode(file.path(), mode);
        assert_eq!(check_mode(file.as_file()).is_ok(), allowed, "{mode:o}");
    }
}
