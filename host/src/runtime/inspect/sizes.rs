//! What a plugin's memories and tables take at the start, against what this host gives.

use jobwright_core::limits::{Limits, show_bytes};
use jobwright_core::runtime::{UnusableCode, UnusablePlugin};
use wasmparser::{MemoryType, Table};

use super::super::limiter::{ELEMENT_BYTES, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};

/// What WebAssembly counts memory in.
const PAGE_BYTES: u64 = 64 << 10;

/// The memories and tables that a plugin declares. A module that a component instantiates twice is
/// counted once: the rest is left to the limits of the attempt.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    memories: u64,
    tables: u64,
    instances: u64,
    memory_bytes: u64,
    elements: u64,
}

impl Sizes {
    pub(super) fn add_memory(&mut self, memory: &MemoryType) {
        let bytes = memory.initial.saturating_mul(PAGE_BYTES);
        self.memories += 1;
        self.memory_bytes = self.memory_bytes.saturating_add(bytes);
    }

    pub(super) fn add_table(&mut self, table: &Table<'_>) {
        self.tables += 1;
        self.elements = self.elements.saturating_add(table.ty.initial);
    }

    pub(super) fn set_instances(&mut self, instances: u64) {
        self.instances = instances;
    }

    /// What the memories and tables take at the start.
    pub(super) fn starting_bytes(&self) -> u64 {
        self.memory_bytes.saturating_add(self.elements.saturating_mul(ELEMENT_BYTES))
    }

    /// Refuses what no attempt under `ceiling` could start with.
    pub(super) fn check(&self, ceiling: &Limits) -> Result<(), UnusablePlugin> {
        for (code, count, most, what) in [
            (UnusableCode::TooManyMemories, self.memories, MAX_MEMORIES, "memories"),
            (UnusableCode::TooManyTables, self.tables, MAX_TABLES, "tables"),
            (UnusableCode::TooManyInstances, self.instances, MAX_INSTANCES, "instances"),
        ] {
            if count > u64::from(most) {
                let message = format!("it has {count} {what}; this host gives at most {most}");
                return Err(UnusablePlugin::new(code, message));
            }
        }
        if self.elements > ceiling.tables {
            let message = format!(
                "its tables start with {} elements, which exceeds the operator's maximum {}, which \
                 `ceilings.tables` in the host's configuration sets",
                self.elements, ceiling.tables
            );
            return Err(UnusablePlugin::new(UnusableCode::TableOverCeiling, message));
        }
        let bytes = self.starting_bytes();
        if bytes > ceiling.memory_bytes {
            let message = format!(
                "its memories and tables start with {}, which exceeds the operator's maximum {}, which \
                 `ceilings.memory_bytes` in the host's configuration sets",
                show_bytes(bytes),
                show_bytes(ceiling.memory_bytes)
            );
            return Err(UnusablePlugin::new(UnusableCode::MemoryOverCeiling, message));
        }
        Ok(())
    }
}
