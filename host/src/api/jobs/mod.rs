//! Jobs: accepted in `create` and `batch`, shown, listed, cancelled and retried.

mod answer;
mod batch;
mod bytes;
mod changes;
mod create;
mod idempotency;
mod list;
mod named;
mod output;
mod payload;
mod reading;
mod replay;
mod request;
mod seeds;
mod show;
mod view;

pub(super) use self::batch::create_batch;
pub(super) use self::bytes::{logs, output, payload};
pub(super) use self::changes::{RETRY_HINT, cancel, retry};
pub(super) use self::create::create;
pub(super) use self::list::list;
pub(super) use self::seeds::seeds;
pub(super) use self::show::show;
