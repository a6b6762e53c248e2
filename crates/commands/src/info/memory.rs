//! Section memory of INFO, and the numbers MEMORY STATS and DOCTOR share with it.
//!
//! Memory is what our own books say: the heap bytes of the data set, the shards it lies in, the buffers of clients, the texts of scripts. The allocator is not asked;
//! what the process takes beyond the books (its resident memory, as the system tells) shows in the ratios. `maxmemory` bounds all that is on the books;
//! the buffer of the log is not.

use std::sync::atomic::Ordering;

use super::{Lines, human};
use crate::cx::Cx;
use crate::settings::Setting;

/// What takes memory, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemoryUse {
    /// Keys, values and their tables.
    pub(crate) dataset: u64,
    /// The shards, as they are when they hold nothing.
    pub(crate) startup: u64,
    /// What clients sent and what waits for them.
    pub(crate) clients: u64,
    /// Texts of scripts.
    pub(crate) scripts: u64,
    /// The most all of this ever was, as far as somebody looked.
    pub(crate) peak: u64,
    /// What the process takes of the machine's memory, if the system tells.
    pub(crate) resident: Option<u64>,
    /// Number of keys.
    pub(crate) keys: u64,
}

impl MemoryUse {
    /// Measures; visits every shard.
    pub(crate) fn measure(cx: &mut Cx<'_, '_>) -> MemoryUse {
        let (_, dataset) = cx.db.totals();
        let engine = cx.engine;
        let keys: usize = (0..cx.db.databases()).map(|db| cx.db.size(db).keys).sum();
        let scripts = engine.scripting.get().map_or(0, |scripting| scripting.size().1);
        let mut measured = MemoryUse {
            dataset: dataset as u64,
            startup: engine.keyspace.fixed_bytes() as u64,
            clients: engine.clients.held_bytes() as u64,
            scripts: scripts as u64,
            peak: 0,
            resident: engine.host.get().and_then(|host| host.resident_bytes()),
            keys: keys as u64,
        };
        let total = measured.total();
        measured.peak = engine.memory_peak.fetch_max(total, Ordering::Relaxed).max(total);
        measured
    }

    /// Returns everything on the books.
    pub(crate) fn total(&self) -> u64 {
        self.dataset + self.overhead()
    }

    /// Returns what is not data.
    pub(crate) fn overhead(&self) -> u64 {
        self.startup + self.clients + self.scripts
    }

    /// Returns how many times what is on the books the process takes, and by how many bytes more.
    pub(crate) fn fragmentation(&self) -> (f64, i64) {
        let resident = self.resident.unwrap_or(self.total());
        (resident as f64 / self.total().max(1) as f64, resident as i64 - self.total() as i64)
    }
}

/// Returns how many percent a part is.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

/// Writes the section.
pub(super) fn write(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let measured = MemoryUse::measure(cx);
    let total = measured.total();
    let mut size = |name: &str, bytes: u64| {
        lines.add(name, bytes);
        lines.add(&format!("{name}_human"), human(bytes));
    };
    size("used_memory", total);
    if let Some(resident) = measured.resident {
        size("used_memory_rss", resident);
    }
    size("used_memory_peak", measured.peak);
    size("used_memory_scripts", measured.scripts);
    size("maxmemory", cx.engine.settings.int(Setting::Maxmemory).unsigned_abs());
    lines.add("used_memory_peak_perc", format!("{:.2}%", percent(total, measured.peak)));
    lines.add("used_memory_overhead", measured.overhead());
    lines.add("used_memory_startup", measured.startup);
    lines.add("used_memory_dataset", measured.dataset);
    lines.add("used_memory_dataset_perc", format!("{:.2}%", percent(measured.dataset, total)));
    lines.add("maxmemory_policy", cx.engine.settings.text(Setting::MaxmemoryPolicy));
    if let Some(scripting) = cx.engine.scripting.get() {
        let (libraries, functions) = scripting.library_counts();
        lines.add("number_of_cached_scripts", scripting.size().0);
        lines.add("number_of_functions", functions);
        lines.add("number_of_libraries", libraries);
    }
    let (ratio, bytes) = measured.fragmentation();
    lines.add("mem_fragmentation_ratio", format!("{ratio:.2}"));
    lines.add("mem_fragmentation_bytes", bytes);
    // `maxmemory` bounds everything on the books.
    lines.add("mem_not_counted_for_evict", 0);
    lines.add("mem_clients_normal", measured.clients);
    lines.zeros(&[
        "mem_replication_backlog",
        "mem_total_replication_buffers",
        "mem_clients_slaves",
        "mem_cluster_links",
        "mem_aof_buffer",
        "active_defrag_running",
    ]);
    lines.add("lazyfree_pending_objects", cx.engine.disposal.pending());
    lines.add("lazyfreed_objects", cx.engine.disposal.freed());
}
