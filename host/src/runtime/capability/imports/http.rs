//! The functions of the module `jobwright` by which core modules send HTTP requests, as far as their
//! plugin is granted them: a request as JSON, its body apart, and what came back to be copied.
//!
//! Invariant: a request that was not sent, or had no answer, leaves the guest running, and the log says
//! why; what is kept of a response counts as the guest's memory.

use bytes::Bytes;
use jobwright_core::outside::Timeouts;
use wasmtime::{Caller, Linker};

use super::super::super::abi::extism::requests::{MAX_JSON_BYTES, json, read};
use super::super::super::instance::Guest;
use super::super::Level;
use super::outside::{REFUSED, answer};
use super::{Called, MODULE, NONE, memory, slice};

/// What a guest can copy of its last response; nothing before the first.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Answered {
    /// A JSON object; empty if there is no response.
    headers: String,
    body: Bytes,
}

impl Answered {
    fn bytes(&self) -> u64 {
        (self.headers.len() + self.body.len()) as u64
    }
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "http_send", |guest, at| Box::new(send(guest, at)))?;
    linker.func_wrap(
        MODULE,
        "http_headers",
        |mut guest: Caller<'_, Guest>, at: u32, length: u32| {
            let headers = guest.data_mut().answered().headers.clone();
            copied(&mut guest, headers.as_bytes(), (at, length))
        },
    )?;
    linker.func_wrap(
        MODULE,
        "http_body",
        |mut guest: Caller<'_, Guest>, at: u32, length: u32| {
            let body = guest.data_mut().answered().body.clone();
            copied(&mut guest, &body, (at, length))
        },
    )?;
    Ok(())
}

async fn send(
    mut guest: Caller<'_, Guest>,
    (head, head_length, body, body_length): (u32, u32, u32, u32),
) -> Called<i32> {
    // One byte too many is refused as well as any more.
    let most = guest.data().outside().request_bytes().saturating_add(1);
    let head = passed(&mut guest, (head, head_length), MAX_JSON_BYTES as u64 + 1)?;
    let body = passed(&mut guest, (body, body_length), most)?;
    let guest = guest.data_mut();
    guest.forget();
    if head.len() > MAX_JSON_BYTES {
        return Ok(guest.unsent(&format!("its JSON has more than {MAX_JSON_BYTES} bytes")));
    }
    let request = match read(&head, body) {
        Ok(request) => request,
        Err(why) => return Ok(guest.unsent(&why)),
    };
    // What is refused or broken off is in the log by then.
    let sending = guest.outside().send(request, Timeouts::default()).await;
    let Ok((head, mut body)) = sending.map(http::Response::into_parts) else { return Ok(REFUSED) };
    let Ok(body) = body.rest().await else { return Ok(REFUSED) };
    let answered = Answered { headers: json(&head.headers), body };
    if !guest.budget_mut().hold(answered.bytes()) {
        let length = answered.bytes();
        return Ok(
            guest.unsent(&format!("there is no memory left for its response of {length} bytes"))
        );
    }
    *guest.answered() = answered;
    Ok(i32::from(head.status.as_u16()))
}

impl Guest {
    /// Lets go of the last response.
    fn forget(&mut self) {
        let before = std::mem::take(self.answered()).bytes();
        self.budget_mut().give_back(before);
    }

    /// Says why a request was not sent, or its response not taken.
    fn unsent(&mut self, why: &str) -> i32 {
        self.line().log(Level::Warn, "jobwright", format!("http_send refused: {why}").as_bytes());
        REFUSED
    }
}

/// At most `most` bytes of what the guest passed.
fn passed(guest: &mut Caller<'_, Guest>, (at, length): (u32, u32), most: u64) -> Called<Vec<u8>> {
    let memory = memory(guest)?;
    let bytes = slice(memory.data_mut(guest), at, length)?;
    Ok(bytes[..bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX))].to_vec())
}

/// Copies as much as the guest has room for; the length of all of it, or [`NONE`] if there is no response.
fn copied(guest: &mut Caller<'_, Guest>, found: &[u8], (at, length): (u32, u32)) -> Called<i32> {
    if guest.data_mut().answered().headers.is_empty() {
        return Ok(NONE);
    }
    answer(guest, found, at, length)
}
