//! The initial size of a plugin's memories and tables, and its check against the limits of this
//! host.

use jobwright_core::limits::{Limits, show_bytes};
use jobwright_core::runtime::{UnusableCode, UnusablePlugin};
use wasmparser::{MemoryType, Table};

use super::super::limiter::{ELEMENT_BYTES, MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};

/// The unit of WebAssembly memories, in bytes.
const PAGE_BYTES: u64 = 64 << 10;

/// The memories and tables that a plugin declares. A module that a component instantiates twice is
/// counted once: the limits of the attempt cover the rest.
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

    /// The initial size of all memories and tables, in bytes.
    pub(super) fn starting_bytes(&self) -> u64 {
        self.memory_bytes.saturating_add(self.elements.saturating_mul(ELEMENT_BYTES))
    }

    /// Refuses a plugin that no attempt under `ceiling` could instantiate.
    pub(super) fn check(&self, ceiling: &Limits) -> Result<(), UnusablePlugin> {
        for (code, count, most, what) in [
            (UnusableCode::TooManyMemories, self.memories, MAX_MEMORIES, "memories"),
            (UnusableCode::TooManyTables, self.tables, MAX_TABLES, "tables"),
            (UnusableCode::TooManyInstances, self.instances, MAX_INSTANCES, "instances"),
        ] {
            if count > u64::from(most) {
                let message = format!("it has {count} {what}, more than the maximum of {most}");
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
