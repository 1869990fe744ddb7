use std::{
    cmp::Reverse,
    env, fs, io,
    path::{Path, PathBuf},
};

/// Finds the directory that holds `initdb`, `postgres` and `psql`.
///
/// `PG_BIN` decides when it is set. Otherwise the highest version under `/usr/lib/postgresql` is
/// taken, where Debian keeps them outside of `PATH`, and at last `PATH`.
pub(crate) fn find_programs() -> io::Result<PathBuf> {
    if let Some(directory) = env::var_os("PG_BIN") {
        let directory = PathBuf::from(directory);
        return if is_complete(&directory) {
            Ok(directory)
        } else {
            Err(not_found(format!("PG_BIN names {}, which", directory.display())))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    debian_directories()
        .into_iter()
        .chain(env::split_paths(&path))
        .find(|directory| is_complete(directory))
        .ok_or_else(|| not_found("install postgresql or set PG_BIN: PATH".to_owned()))
}

fn debian_directories() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    let mut versions: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| Reverse(version(path)));
    versions.iter().map(|path| path.join("bin")).collect()
}

/// The version in the last part of the path; 9.6 is below 15, and what is no version below both.
fn version(path: &Path) -> Vec<u32> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').map_while(|part| part.parse().ok()).collect()
}

/// A directory with the client programs alone is not enough.
fn is_complete(directory: &Path) -> bool {
    ["initdb", "postgres", "psql"].iter().all(|program| directory.join(program).is_file())
}

fn not_found(place: String) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("{place} does not hold initdb, postgres and psql"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let [old, new, other] =
            ["/usr/lib/postgresql/9.6", "/usr/lib/postgresql/15", "/usr/lib/postgresql/common"]
                .map(|path| version(Path::new(path)));
        assert!(other < old && old < new);
    }
}
