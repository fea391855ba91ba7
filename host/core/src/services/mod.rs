//! Host services: what guests may reach beyond their sandboxes, as far as their plugin is granted it.
//!
//! | module | owns |
//! |---|---|
//! | [`granted`] | the capabilities of an attempt, and the traits of what enforces them |
//! | [`message`], [`body`] | HTTP requests and the bodies of their responses |
//! | [`key_value`] | calls to the key-value store of a plugin |

pub mod body;
pub mod granted;
pub mod key_value;
pub mod message;

pub use self::body::{Body, Pieces, at_once};
pub use self::granted::{
    Capabilities, CapabilityProvider, HostServices, NO_REQUEST, NoCapabilities,
};
pub use self::key_value::{
    KeyValueCall, KeyValueError, KeyValueReply, MAX_BUCKET_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES,
};
pub use self::message::{
    HttpRequestError, MAX_HEAD_BYTES, MAX_HEADERS, Timeouts, header_bytes, shown,
};
