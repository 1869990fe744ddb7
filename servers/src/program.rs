use std::{
    env, io,
    path::{Path, PathBuf},
};

/// Finds a program in the directory that a variable names; without it in the usual directories,
/// then in `PATH`.
pub(crate) fn find_program(name: &str, variable: &str, usual: &[&str]) -> io::Result<PathBuf> {
    if let Some(directory) = env::var_os(variable) {
        let program = Path::new(&directory).join(name);
        return if program.is_file() {
            Ok(program)
        } else {
            let message = format!("{variable} names {}, which lacks {name}", directory.display());
            Err(io::Error::new(io::ErrorKind::NotFound, message))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    usual
        .iter()
        .map(PathBuf::from)
        .chain(env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| {
            let message = format!("install {name} or set {variable}: PATH does not hold it");
            io::Error::new(io::ErrorKind::NotFound, message)
        })
}
