use std::{
    collections::HashMap,
    env,
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// PostgreSQL's command line client.
#[derive(Debug)]
pub(crate) struct Psql {
    program: PathBuf,
}

impl Psql {
    pub(crate) fn new(programs: &Path) -> Self {
        Self { program: programs.join("psql") }
    }

    /// Runs SQL; returns one line per row, with `|` between the columns.
    pub(crate) fn lines(&self, url: &str, sql: &str) -> io::Result<String> {
        self.run(url, sql, "--tuples-only")
    }

    /// Runs one statement; returns the rows by the names of their columns.
    pub(crate) fn rows(&self, url: &str, sql: &str) -> io::Result<Vec<HashMap<String, String>>> {
        let printed = self.run(url, sql, "--pset=footer=off")?;
        let mut lines = printed.lines().map(|line| line.split('|').map(str::to_owned));
        let names: Vec<String> = lines.next().into_iter().flatten().collect();
        Ok(lines.map(|values| names.iter().cloned().zip(values).collect()).collect())
    }

    fn run(&self, url: &str, sql: &str, shape: &str) -> io::Result<String> {
        let output = without_pg_variables(Command::new(&self.program))
            .args(["--no-psqlrc", "--quiet", "--no-align", shape])
            .args(["--set=ON_ERROR_STOP=1", "--dbname", url, "--command", sql])
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            let printed = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!(
                "psql failed ({}): {}",
                output.status,
                printed.trim_end()
            )))
        }
    }
}

/// Variables such as `PGOPTIONS` or `PGHOST` speak of the user's own server.
pub(super) fn without_pg_variables(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if OsStr::as_bytes(&name).starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command
}
