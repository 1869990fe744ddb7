use std::{collections::HashMap, fs, process, time::Duration};

/// Tells what used the processors while something was measured.
#[derive(Debug)]
pub(crate) struct Processors {
    busy: u64,
    total: u64,
    client: u64,
    server: u64,
}

/// Who used the processors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Seconds used by this process.
    pub(crate) client: f64,
    /// Seconds used by the processes it has started.
    pub(crate) server: f64,
    /// The share of the machine that everybody else used, between 0 and 1. The kernel's own work
    /// is among it.
    pub(crate) others: f64,
}

impl Processors {
    pub(crate) fn watch() -> Self {
        let (busy, total) = machine();
        let (client, server) = ours();
        Self { busy, total, client, server }
    }

    /// The usage since.
    #[allow(clippy::cast_precision_loss)] // hundredths of seconds
    pub(crate) fn usage(&self) -> Usage {
        let now = Self::watch();
        let busy = now.busy.saturating_sub(self.busy);
        let client = now.client.saturating_sub(self.client);
        let server = now.server.saturating_sub(self.server);
        let total = now.total.saturating_sub(self.total).max(1);
        Usage {
            client: client as f64 / TICKS_PER_SECOND,
            server: server as f64 / TICKS_PER_SECOND,
            others: busy.saturating_sub(client + server) as f64 / total as f64,
        }
    }
}

/// A measurement during which others used more than this share is taken again.
pub(crate) const DISTURBED: f64 = 0.12;
/// How long to wait before that.
pub(crate) const REST: Duration = Duration::from_secs(3);

/// Busy and total time of all processors, in clock ticks.
fn machine() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).take(8).map_while(|field| field.parse().ok()).collect();
    let total = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    (total - idle, total)
}

/// Processor time of this process, and of all that descend from it, in clock ticks.
fn ours() -> (u64, u64) {
    let mut parents: HashMap<u32, (u32, u64, u64)> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The name in parentheses may contain anything; what follows the last one is numbers.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok());
        let parent = number(1).unwrap_or(0);
        // utime, stime, and those of children that were waited for.
        let ticks = (11..15).map(|index| number(index).unwrap_or(0));
        let ticks: Vec<u64> = ticks.collect();
        let (own, waited) = (ticks[0] + ticks[1], ticks[2] + ticks[3]);
        parents.insert(pid, (u32::try_from(parent).unwrap_or(0), own, waited));
    }
    let root = process::id();
    let descends = |mut pid: u32| {
        for _ in 0..MAX_DEPTH {
            if pid == root {
                return true;
            }
            let Some((parent, ..)) = parents.get(&pid) else {
                return false;
            };
            pid = *parent;
        }
        false
    };
    let mut server = 0;
    let mut client = 0;
    for (&pid, (_, own, waited)) in parents.iter().filter(|(pid, _)| descends(**pid)) {
        server += waited;
        *if pid == root { &mut client } else { &mut server } += own;
    }
    (client, server)
}

const MAX_DEPTH: usize = 16;
// Linux's USER_HZ, whatever the kernel counts in.
const TICKS_PER_SECOND: f64 = 100.0;
