use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// Creates the directory that holds the data, the sockets and the log of one server of a kind.
pub(crate) fn create_directory(kind: &str) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(&format!("tower-inbox-{kind}-")).tempdir_in(parent())
}

/// The usual place, unless it is closed to the account that a server of root runs under.
fn parent() -> PathBuf {
    let usual = env::temp_dir();
    if usual.ancestors().all(is_open) { usual } else { PathBuf::from("/tmp") }
}

fn is_open(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
}
