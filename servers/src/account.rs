use std::{
    fs, io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::Command,
};

/// The account a server runs under.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Account {
    /// That of this process.
    Own,
    /// `postgres`, because we are root and the server refuses to run as root.
    Postgres { uid: u32, gid: u32 },
}

impl Account {
    /// Chooses the account for the owner of a directory that this process has just created.
    pub(crate) fn for_owner_of(directory: &Path) -> io::Result<Self> {
        if fs::metadata(directory)?.uid() != 0 {
            return Ok(Self::Own);
        }
        fs::read_to_string("/etc/passwd")?
            .lines()
            .find_map(parse_postgres)
            .ok_or_else(|| io::Error::other("root needs the user `postgres` to run a server as"))
    }

    /// Hands a directory over to the account.
    pub(crate) fn own(self, directory: &Path) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Postgres { uid, gid } => {
                std::os::unix::fs::chown(directory, Some(uid), Some(gid))
            }
        }
    }

    /// A command that will run under the account.
    pub(crate) fn command(self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        if let Self::Postgres { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }
}

fn parse_postgres(line: &str) -> Option<Account> {
    let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account::Postgres { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passwd_line_of_postgres_is_read() {
        let account = parse_postgres("postgres:x:101:104:administrator,,,:/var/lib:/bin/bash");
        assert!(matches!(account, Some(Account::Postgres { uid: 101, gid: 104 })));
        assert!(parse_postgres("postgresql:x:1:2::/:/bin/sh").is_none());
        assert!(parse_postgres("root:x:0:0:root:/root:/bin/bash").is_none());
    }
}
