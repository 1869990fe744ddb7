//! Redis against the conformance suite for event backends: compact and exact ids, and a cluster.
#![cfg(all(feature = "redis", feature = "testing"))]

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tower_inbox::{
    events::{
        DeduplicationConfig, DeduplicationConfigBuilder,
        backend::{EventBackend, RedisBackend},
    },
    hook::BoxFuture,
    testing::EventHarness,
};
use tower_inbox_servers::{RedisCluster, RedisServer};

mod compact {
    tower_inbox::events_conformance!(crate::Redis::start(|config| config));
}

mod exact {
    tower_inbox::events_conformance!(
        crate::Redis::start(|config| config.compress_event_ids(false))
    );
}

mod in_pieces {
    // Several shards on one server, and batches that are cut.
    tower_inbox::events_conformance!(crate::Redis::start(|config| config
        .shards(3)
        .pipeline_batch_size(7)
        .connections(2)));
}

mod cluster {
    tower_inbox::events_conformance!(crate::Redis::on_cluster());
}

struct Redis {
    one: Arc<RedisBackend>,
    other: Arc<RedisBackend>,
    start: Instant,
    _server: Option<RedisServer>,
}

impl Redis {
    fn start(settings: impl Fn(DeduplicationConfigBuilder) -> DeduplicationConfigBuilder) -> Self {
        let server = RedisServer::start().unwrap();
        let config = settings(DeduplicationConfig::builder().store(server.url()));
        Self::on(config, Some(server))
    }

    fn on_cluster() -> Self {
        // Forming one takes seconds. Its watchdog ends it with the process.
        static CLUSTER: LazyLock<RedisCluster> = LazyLock::new(|| RedisCluster::start(3).unwrap());
        static NAMESPACE: AtomicU32 = AtomicU32::new(0);
        let cluster = &*CLUSTER;
        let nodes = cluster.nodes().iter().map(|node| format!("127.0.0.1:{}", node.port()));
        let nodes: Vec<_> = nodes.collect();
        let config =
            DeduplicationConfig::builder().store(format!("redis-cluster://{}", nodes.join(",")));
        let namespace = NAMESPACE.fetch_add(1, Ordering::Relaxed).to_string();
        Self::on(config.namespace(namespace), None)
    }

    fn on(config: DeduplicationConfigBuilder, server: Option<RedisServer>) -> Self {
        let config = config.build().unwrap();
        let backend = || Arc::new(RedisBackend::new(&config).unwrap());
        Self { one: backend(), other: backend(), start: Instant::now(), _server: server }
    }
}

impl EventHarness for Redis {
    fn backend(&self) -> Arc<dyn EventBackend> {
        Arc::clone(&self.one) as _
    }

    fn another(&self) -> Arc<dyn EventBackend> {
        Arc::clone(&self.other) as _
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn max_windows(&self) -> Option<usize> {
        Some(8)
    }
}
