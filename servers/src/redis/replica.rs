use std::io;

use super::{RedisServer, wait::wait_for};

/// What concerns a [replica](super::RedisBuilder::replica_of).
impl RedisServer {
    /// Waits until this replica has its first copy of the data and follows its master.
    ///
    /// What the master took since may still be on its way: see
    /// [`catch_up_with`](Self::catch_up_with).
    ///
    /// # Errors
    ///
    /// When this is no replica, or when it is not there in a minute.
    pub fn wait_for_sync(&self) -> io::Result<()> {
        wait_for("a replica to be in sync", || {
            let replication = self.replication()?;
            replication.require_replica()?;
            Ok((replication.get("master_link_status") == Some("up")).then_some(()))
        })
    }

    /// Waits until this replica has everything that its master has taken so far.
    ///
    /// # Errors
    ///
    /// When this is no replica, or when it does not get there in a minute.
    pub fn catch_up_with(&self, master: &Self) -> io::Result<()> {
        self.wait_for_sync()?;
        let offset = master.replication()?.offset("master_repl_offset")?;
        wait_for("a replica to catch up", || {
            let replication = self.replication()?;
            replication.require_replica()?;
            Ok((replication.offset("slave_repl_offset")? >= offset).then_some(()))
        })
    }

    /// Makes a replica a server of its own, which can be written and stays so over a restart. What
    /// it has not received by now it will never have.
    ///
    /// # Errors
    ///
    /// When this is no replica.
    pub fn promote(&self) -> io::Result<()> {
        self.replication()?.require_replica()?;
        self.cli(&["replicaof", "no", "one"])?;
        self.cli(&["config", "rewrite"]).map(drop)
    }

    pub(super) fn replication(&self) -> io::Result<Info> {
        self.cli(&["info", "replication"]).map(Info)
    }
}

/// What a server prints about itself, as `name:value` in lines.
#[derive(Debug)]
pub(super) struct Info(pub(super) String);

impl Info {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_end()))
    }

    fn offset(&self, name: &str) -> io::Result<u64> {
        self.get(name)
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| io::Error::other(format!("{name} is missing in {:?}", self.0)))
    }

    fn require_replica(&self) -> io::Result<()> {
        match self.get("role") {
            Some("slave") => Ok(()),
            role => Err(io::Error::other(format!("no replica, but in the role {role:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_not_mistaken_for_one_that_begins_like_it() {
        let info = Info("# Replication\r\nrole_:x\r\nrole:slave\r\noffset:7\r\n".to_owned());
        assert_eq!(info.get("role"), Some("slave"));
        assert_eq!(info.offset("offset").unwrap(), 7);
        info.require_replica().unwrap();
        info.offset("off").unwrap_err();
    }
}
