//! Why no attempt could run a plugin: the codes of uploads that are refused for their bytes.

use std::fmt;

/// Declares the codes once: the enum, the list of all and their strings.
macro_rules! unusable_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal,)*) => {
        /// A stable code, which programs may compare.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum UnusableCode {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl UnusableCode {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as clients see it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }
        }
    };
}

unusable_codes! {
    /// The bytes are not a WebAssembly binary.
    NotWasm = "not_wasm",
    /// The binary is damaged: it does not pass validation.
    InvalidWasm = "invalid_wasm",
    /// No export can be called by an attempt.
    NoEntryPoint = "no_entry_point",
    /// An import is not offered, or not with this type.
    UnknownImport = "unknown_import",
    /// The binary needs a WebAssembly feature that the host does not have.
    NeedsFeature = "needs_feature",
    /// The component is built for a WASI version that the host does not have.
    WasiVersion = "wasi_version",
    /// The component is built for a version of the `job` world that the host does not have.
    WorldVersion = "world_version",
    /// The component is a WIT package, which has no code.
    WitPackage = "wit_package",
    /// A nested component takes components as arguments, which cannot be bounded.
    ComponentArgument = "component_argument",
    /// Components are nested too deeply.
    TooDeep = "too_deep",
    /// The plugin has more memories than the host gives.
    TooManyMemories = "too_many_memories",
    /// The plugin has more tables than the host gives.
    TooManyTables = "too_many_tables",
    /// The component has more core instances than the host gives.
    TooManyInstances = "too_many_instances",
    /// The tables start with more elements than the operator's maximum.
    TableOverCeiling = "table_over_ceiling",
    /// The memories start with more bytes than the operator's maximum.
    MemoryOverCeiling = "memory_over_ceiling",
    /// Compiling took longer than the operator's maximum.
    CompileTimeout = "compile_timeout",
    /// The plugin does not compile, or cannot be linked.
    PluginUnusable = "plugin_unusable",
}

impl fmt::Display for UnusableCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
