use std::io;

use super::{RedisServer, replica::Info, wait::wait_for};

/// A private Redis Cluster of masters without replicas.
///
/// The slots are spread over the nodes in order and evenly. When one node is stopped, the others
/// refuse everything some seconds later, until it is back with its slots.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the nodes, gives them the slots, and waits until each of them knows all others and is
    /// content, which takes some seconds.
    ///
    /// # Errors
    ///
    /// When `masters` is 0, as [`RedisBuilder::start`](super::RedisBuilder::start), and when the
    /// nodes do not get together.
    pub fn start(masters: usize) -> io::Result<Self> {
        if masters == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a cluster without masters"));
        }
        let nodes = (0..masters)
            .map(|_| RedisServer::builder().cluster().start())
            .collect::<io::Result<_>>()?;
        let cluster = Self { nodes };
        cluster.form()?;
        Ok(cluster)
    }

    /// The URLs of all nodes, in order.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// The nodes, in the order of their slots.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The nodes, to be killed and restarted.
    pub fn nodes_mut(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// Waits until each node knows all others and has the cluster as complete.
    ///
    /// # Errors
    ///
    /// When a node does not run, or when they are not there in a minute.
    pub fn wait_until_ok(&self) -> io::Result<()> {
        let known = self.nodes.len().to_string();
        for node in &self.nodes {
            wait_for("a cluster to be complete", || {
                let info = Info(node.cli(&["cluster", "info"])?);
                let is_ok = info.get("cluster_state") == Some("ok")
                    && info.get("cluster_known_nodes") == Some(&known);
                Ok(is_ok.then_some(()))
            })?;
        }
        Ok(())
    }

    /// As `redis-cli --cluster create` does, which refuses to make one of fewer than three.
    fn form(&self) -> io::Result<()> {
        let count = self.nodes.len();
        for (index, node) in self.nodes.iter().enumerate() {
            let [first, end] = [index, index + 1].map(|index| index * SLOTS / count);
            let [first, last] = [first, end - 1].map(|slot| slot.to_string());
            node.cli(&["cluster", "addslotsrange", &first, &last])?;
            // Equal ones would have to be told apart later, which moves the slots for a moment.
            node.cli(&["cluster", "set-config-epoch", &(index + 1).to_string()])?;
        }
        for node in &self.nodes[1..] {
            let [port, bus_port] = [node.port(), node.bus_port()].map(|port| port.to_string());
            self.nodes[0].cli(&["cluster", "meet", "127.0.0.1", &port, &bus_port])?;
        }
        self.wait_until_ok()
    }
}

const SLOTS: usize = 16384;
