//! What guests reach outside of their sandboxes, as far as their plugins were granted it.
//!
//! | module | owns |
//! |---|---|
//! | [`values`] | what plugins keep from one job to the next |

pub mod values;
