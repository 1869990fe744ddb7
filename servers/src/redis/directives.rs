use super::{RedisBuilder, authority::Identity, config::Config, operator};

impl RedisBuilder {
    /// Everything that the process has to be told.
    pub(super) fn config(&self, port: u16, bus_port: u16, identity: Option<&Identity>) -> Config {
        let mut config = Config::default();
        config.set("bind", &["127.0.0.1"]);
        if let Some(identity) = identity {
            identity.configure(&mut config);
            config.set("tls-port", &[&port.to_string()]);
            config.set("port", &["0"]);
        } else {
            config.set("port", &[&port.to_string()]);
        }
        operator::configure(&mut config);
        self.access.configure(&mut config);
        config.set("maxmemory", &[&self.maxmemory.to_string()]);
        config.set("maxmemory-policy", &[&self.policy]);
        config.set("save", &[""]);
        config.set("appendonly", &[yes_or_no(self.append_only)]);
        config.set("appendfsync", &["no"]);
        if self.debug_commands {
            config.set("enable-debug-command", &["local"]);
        }
        // The default of 5 s lets more replicas join, of which tests have one.
        config.set("repl-diskless-sync-delay", &["0"]);
        // What a replica received would otherwise be found again by a restart.
        config.set("rdb-del-sync-files", &["yes"]);
        if let Some(master) = self.master {
            config.set("replicaof", &["127.0.0.1", &master.to_string()]);
        }
        if self.cluster {
            config.set("cluster-enabled", &["yes"]);
            config.set("cluster-port", &[&bus_port.to_string()]);
            // A node that has met nobody does not know it.
            config.set("cluster-announce-ip", &["127.0.0.1"]);
            // After a node went away: the default of 15 s is made for networks, not for tests.
            config.set("cluster-node-timeout", &["5000"]);
        }
        for (name, value) in &self.settings {
            config.line(&format!("{name} {value}"));
        }
        config
    }
}

fn yes_or_no(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}
