//! Accounts for the memory and tables of one attempt, and remembers refused growth.
//!
//! Invariant: the sum over all memories and tables of an attempt never exceeds its limits. Growth
//! beyond them returns −1 to the guest, as WebAssembly specifies. The refusal is remembered until a
//! growth succeeds: it explains a trap, while a guest that grows later has survived the refusal.

use jobwright_core::limits::{Limit, Limits};
use wasmtime::ResourceLimiter;

/// The size of a table element: wasmtime stores a pointer for each.
pub(super) const ELEMENT_BYTES: u64 = 8;

/// Memories of one plugin. Programs have one, components that were composed of others one for each.
/// Each takes 4 GiB of address space in every slot of the pool.
pub(super) const MAX_MEMORIES: u32 = 8;

/// Tables of one plugin. Modules have one or two, components one or two more for each memory.
pub(super) const MAX_TABLES: u32 = 32;

/// Instances of modules and components in one plugin. Components of componentize-py have one for
/// each shared library, some tens; the bound is that of Spin.
pub(super) const MAX_INSTANCES: u32 = 200;

/// A limit that refused growth, and the requested size, in bytes or elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) limit: Limit,
    pub(super) wanted: u64,
}

/// The account of one attempt.
#[derive(Debug)]
pub(super) struct Budget {
    memory_limit: u64,
    table_limit: u64,
    memory: u64,
    elements: u64,
    peak: u64,
    refused: Option<Refusal>,
    starved: bool,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory_limit: limits.memory_bytes,
            table_limit: limits.tables,
            memory: 0,
            elements: 0,
            peak: 0,
            refused: None,
            starved: false,
        }
    }

    /// The peak size of all memories and tables, in bytes.
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    /// The last growth that was refused, if none has succeeded since.
    pub(super) fn refused(&self) -> Option<Refusal> {
        self.refused
    }

    /// Whether the system refused memory that the guest may have, and no later growth succeeded.
    pub(super) fn starved(&self) -> bool {
        self.starved
    }

    /// Refuses a copy for the guest of more bytes than it can ever have.
    ///
    /// # Errors
    /// If `bytes` exceed the memory limit.
    pub(super) fn check_copy(&mut self, bytes: u64) -> wasmtime::Result<()> {
        if bytes <= self.memory_limit {
            return Ok(());
        }
        self.refused = Some(Refusal { limit: Limit::Memory, wanted: bytes });
        wasmtime::bail!("{bytes} bytes do not fit into a memory of {}", self.memory_limit)
    }

    /// Charges bytes that the host stores for the guest; returns whether there is room for them.
    pub(super) fn hold(&mut self, bytes: u64) -> bool {
        self.take(self.memory.saturating_add(bytes), self.elements)
    }

    /// Releases bytes that were [charged](Self::hold).
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.memory = self.memory.saturating_sub(bytes);
    }

    fn take(&mut self, memory: u64, elements: u64) -> bool {
        if elements > self.table_limit {
            self.refused = Some(Refusal { limit: Limit::Tables, wanted: elements });
            return false;
        }
        let wanted = memory.saturating_add(elements * ELEMENT_BYTES);
        if wanted > self.memory_limit {
            self.refused = Some(Refusal { limit: Limit::Memory, wanted });
            return false;
        }
        if memory > self.memory || elements > self.elements {
            (self.refused, self.starved) = (None, false);
        }
        (self.memory, self.elements) = (memory, elements);
        self.peak = self.peak.max(wanted);
        true
    }
}

/// Whether the growth exceeds the guest's own declared maximum, where that is below the attempt's
/// limit: the limit is then not the cause.
fn beyond_its_own(desired: usize, maximum: Option<usize>, limit: u64) -> bool {
    maximum.is_some_and(|most| desired > most && (most as u64) < limit)
}

/// Whether the error is that the system refused memory.
pub(super) fn is_starved(error: &wasmtime::Error) -> bool {
    #[cfg(unix)]
    let is_refused = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref() == Some(&rustix::io::Errno::NOMEM)
    };
    #[cfg(not(unix))]
    let is_refused = |_: &(dyn std::error::Error + 'static)| false;
    error.chain().any(|cause| {
        let io = cause.downcast_ref().map(std::io::Error::kind);
        io == Some(std::io::ErrorKind::OutOfMemory) || is_refused(cause)
    })
}

impl ResourceLimiter for Budget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if beyond_its_own(desired, maximum, self.memory_limit) {
            return Ok(false);
        }
        let memory = self.memory.saturating_add((desired - current) as u64);
        Ok(self.take(memory, self.elements))
    }

    /// Called when the memory's type does not allow that size, without a previous check, or when
    /// the system refuses memory. In the second case the granted bytes stay charged, which is only
    /// stricter.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.starved |= is_starved(&error);
        self.refused = Some(Refusal { limit: Limit::Memory, wanted: u64::from(u32::MAX) + 1 });
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if beyond_its_own(desired, maximum, self.table_limit) {
            return Ok(false);
        }
        let elements = self.elements.saturating_add((desired - current) as u64);
        Ok(self.take(self.memory, elements))
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(Refusal { limit: Limit::Tables, wanted: u64::from(u32::MAX) + 1 });
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(memory_bytes: u64, tables: u64) -> Budget {
        Budget::new(&Limits { memory_bytes, tables, ..Limits::DEFAULT })
    }

    #[test]
    fn all_memories_and_tables_count_together() {
        let mut budget = budget(1_000, 100);
        assert!(budget.memory_growing(0, 500, None).unwrap());
        assert!(budget.memory_growing(0, 300, None).unwrap());
        assert!(budget.table_growing(0, 20, None).unwrap());
        assert_eq!((budget.peak(), budget.refused()), (960, None));
        assert!(!budget.memory_growing(500, 541, None).unwrap());
        assert_eq!(budget.refused(), Some(Refusal { limit: Limit::Memory, wanted: 1_001 }));
        assert!(budget.memory_growing(500, 540, None).unwrap());
        assert_eq!(budget.refused(), None, "it was survived");
        assert!(!budget.table_growing(0, 81, None).unwrap());
        assert_eq!(budget.refused(), Some(Refusal { limit: Limit::Tables, wanted: 101 }));
        assert_eq!(budget.peak(), 1_000);
    }

    #[test]
    fn a_refusal_is_remembered_until_a_growth_succeeds() {
        let mut budget = budget(1_000, 100);
        let refused = Some(Refusal { limit: Limit::Memory, wanted: 2_000 });
        assert!(!budget.memory_growing(0, 2_000, None).unwrap());
        assert!(budget.memory_growing(0, 0, None).unwrap());
        budget.give_back(0);
        assert_eq!(budget.refused(), refused, "nothing grew");
        assert!(budget.table_growing(0, 1, None).unwrap());
        assert_eq!(budget.refused(), None);
        budget
            .memory_grow_failed(std::io::Error::from(std::io::ErrorKind::OutOfMemory).into())
            .unwrap();
        assert!(budget.starved());
        assert!(budget.hold(1));
        assert!(!budget.starved());
    }

    #[test]
    fn the_declared_maximum_of_a_guest_is_not_the_attempts_limit() {
        let mut budget = budget(1_000, 100);
        assert!(!budget.memory_growing(0, 5_000, Some(500)).unwrap());
        assert!(!budget.table_growing(0, 5_000, Some(10)).unwrap());
        assert_eq!(budget.refused(), None);
        assert!(!budget.memory_growing(0, 5_000, Some(4_000)).unwrap());
        assert_eq!(budget.refused(), Some(Refusal { limit: Limit::Memory, wanted: 5_000 }));
    }
}
