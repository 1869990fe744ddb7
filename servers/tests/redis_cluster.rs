//! A private Redis Cluster.

use std::collections::HashSet;

use tower_inbox_servers::RedisCluster;

#[test]
fn every_key_is_at_home_on_one_node_and_the_others_say_where() {
    let cluster = RedisCluster::start(3).unwrap();
    let nodes = cluster.nodes();
    assert_eq!(cluster.urls()[2], nodes[2].url());
    let mut homes = HashSet::new();
    for order in 0..32 {
        let key = format!("order:{order}");
        let slot: usize = nodes[0].cli(&["cluster", "keyslot", &key]).unwrap().parse().unwrap();
        let home = (0..3).rfind(|node| node * 16384 / 3 <= slot).unwrap();
        homes.insert(home);
        let moved = format!("MOVED {slot} 127.0.0.1:{}", nodes[home].port());
        for (index, node) in nodes.iter().enumerate() {
            match node.cli(&["set", &key, "7"]) {
                Ok(answer) => assert_eq!((index, &*answer), (home, "OK")),
                Err(error) => {
                    assert!(index != home && error.to_string().contains(&moved), "{error}");
                }
            }
        }
    }
    assert_eq!(homes.len(), 3);
}

#[test]
fn a_node_that_comes_back_has_its_slots_again() {
    let mut cluster = RedisCluster::start(2).unwrap();
    // In the first half and in the second.
    let keys = [(0, "hello"), (1, "foo")];
    for (home, key) in keys {
        cluster.nodes()[home].cli(&["set", key, "7"]).unwrap();
    }
    cluster.nodes_mut()[1].kill().unwrap();
    cluster.wait_until_ok().unwrap_err();
    cluster.nodes_mut()[1].restart().unwrap();
    cluster.wait_until_ok().unwrap();
    for (home, key) in keys {
        cluster.nodes()[home].cli(&["set", key, "8"]).unwrap();
    }
}

#[test]
fn one_node_is_a_cluster_and_none_is_not() {
    let cluster = RedisCluster::start(1).unwrap();
    let node = &cluster.nodes()[0];
    let slots = node.cli(&["cluster", "slots"]).unwrap();
    let expected = format!("0\n16383\n127.0.0.1\n{}\n", node.port());
    assert!(slots.starts_with(&expected), "{slots}");
    RedisCluster::start(0).unwrap_err();
}
