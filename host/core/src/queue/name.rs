//! The name of a queue.

use crate::name::name_type;

name_type! {
    /// The name of a queue.
    QueueName
}

impl Default for QueueName {
    /// The queue of jobs that name none.
    fn default() -> Self {
        Self("default".into())
    }
}
