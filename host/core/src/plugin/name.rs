//! The name of a plugin.

use crate::name::name_type;

name_type! {
    /// The name of a plugin.
    PluginName
}
