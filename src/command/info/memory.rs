//! INFO memory.

use std::sync::atomic::Ordering;

use crate::command::info::Fields;
use crate::config::MaxmemoryPolicy;
use crate::engine::context::AdminCtx;
use crate::engine::core::Core;
use crate::engine::replicas;
use crate::script::machine;
use crate::stats::memory::{Memory, human, system_bytes};

pub(super) fn memory(ax: &mut AdminCtx, out: &mut Fields) {
    let core = ax.core;
    let memory = Memory::read();
    let used = memory.allocated;
    let peak = core.memory_peak.fetch_max(used, Ordering::Relaxed).max(used);
    let clients = core.clients.buffer_bytes();
    let buffers = replicas::buffers(core);
    let overhead = core.memory_startup + clients + buffers.total;
    let dataset = used.saturating_sub(overhead);
    let net = used.saturating_sub(core.memory_startup);
    let percent =
        |part: u64, whole: u64| format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64);
    put_human(out, "used_memory", used);
    put_human(out, "used_memory_rss", memory.rss);
    put_human(out, "used_memory_peak", peak);
    out.put("used_memory_peak_perc", percent(used, peak));
    out.put("used_memory_overhead", overhead);
    out.put("used_memory_startup", core.memory_startup);
    out.put("used_memory_dataset", dataset);
    out.put("used_memory_dataset_perc", percent(dataset, net));
    out.put("allocator_allocated", memory.allocated);
    out.put("allocator_active", memory.active);
    out.put("allocator_resident", memory.resident);
    out.put("allocator_muzzy", 0);
    put_human(out, "total_system_memory", system_bytes());
    scripts(core, out);
    let config = core.config.load();
    put_human(out, "maxmemory", config.maxmemory);
    out.put("maxmemory_policy", policy_name(config.maxmemory_policy));
    ratios(out, memory);
    for (name, value) in [
        ("mem_not_counted_for_evict", buffers.beyond),
        ("mem_replication_backlog", buffers.backlog),
        ("mem_total_replication_buffers", buffers.total),
        ("mem_clients_slaves", buffers.beyond),
        ("mem_clients_normal", clients),
        ("mem_cluster_links", 0),
        ("mem_aof_buffer", 0),
    ] {
        out.put(name, value);
    }
    out.put("mem_allocator", "jemalloc-5.3.0");
    out.put("mem_overhead_db_hashtable_rehashing", 0);
    out.put("active_defrag_running", 0);
    out.put("lazyfree_pending_objects", core.garbage_pending.load(Ordering::Relaxed));
    out.put("lazyfreed_objects", core.garbage_freed.load(Ordering::Relaxed));
}

fn put_human(out: &mut Fields, name: &str, bytes: u64) {
    out.put(name, bytes);
    out.put(&format!("{name}_human"), human(bytes));
}

/// Scripts and functions. They share a thread's machine, whose memory counts as the scripts'.
fn scripts(core: &Core, out: &mut Fields) {
    let (count, bytes) = core.scripts.size();
    let machines = machine::memory_bytes();
    let libraries = core.functions.now();
    let functions = libraries.memory_bytes();
    out.put("used_memory_lua", machines);
    out.put("used_memory_vm_eval", machines);
    out.put("used_memory_lua_human", human(machines));
    out.put("used_memory_scripts_eval", bytes);
    out.put("number_of_cached_scripts", count);
    out.put("number_of_functions", libraries.function_count());
    out.put("number_of_libraries", libraries.all().len());
    out.put("used_memory_vm_functions", 0);
    put_human(out, "used_memory_vm_total", machines);
    out.put("used_memory_functions", functions);
    put_human(out, "used_memory_scripts", (bytes + functions) as u64);
}

fn ratios(out: &mut Fields, memory: Memory) {
    let rows = [
        ("allocator_frag", memory.active, memory.allocated),
        ("allocator_rss", memory.resident, memory.active),
        ("rss_overhead", memory.rss, memory.resident),
        ("mem_fragmentation", memory.rss, memory.allocated),
    ];
    for (name, part, whole) in rows {
        let ratio = part as f64 / whole.max(1) as f64;
        out.put(&format!("{name}_ratio"), format_args!("{ratio:.2}"));
        out.put(&format!("{name}_bytes"), part as i64 - whole as i64);
    }
}

fn policy_name(policy: MaxmemoryPolicy) -> &'static str {
    match policy {
        MaxmemoryPolicy::VolatileLru => "volatile-lru",
        MaxmemoryPolicy::VolatileLfu => "volatile-lfu",
        MaxmemoryPolicy::VolatileRandom => "volatile-random",
        MaxmemoryPolicy::VolatileTtl => "volatile-ttl",
        MaxmemoryPolicy::AllkeysLru => "allkeys-lru",
        MaxmemoryPolicy::AllkeysLfu => "allkeys-lfu",
        MaxmemoryPolicy::AllkeysRandom => "allkeys-random",
        MaxmemoryPolicy::Noeviction => "noeviction",
    }
}
