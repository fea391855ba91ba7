//! The functions of the module `jobwright` by which core modules send HTTP requests under the
//! grants of their plugin: a request is JSON and a body, and the guest copies the response.
//!
//! Invariant: after a request that was not sent, or had no response, the guest continues, and the
//! log has the reason; a stored response counts against the guest's memory limit.

use jobwright_core::services::Timeouts;
use wasmtime::{Caller, Linker};

use super::super::super::guest::Guest;
use super::super::channel::Level;
use super::super::request_json::{MAX_JSON_BYTES, headers_json, read};
use super::last_response::LastResponse;
use super::memory::{Called, MODULE, NONE, REFUSED, Region};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "http_send",
        |guest, (head, head_length, at, length): (u32, u32, u32, u32)| {
            let head = Region { at: head, length: head_length };
            Box::new(send(guest, head, Region { at, length }))
        },
    )?;
    linker.func_wrap(MODULE, "http_headers", |mut guest: Caller<'_, Guest>, at, length| {
        let headers = guest.data_mut().last_response().headers.clone();
        copied(&mut guest, headers.as_bytes(), Region { at, length })
    })?;
    linker.func_wrap(MODULE, "http_body", |mut guest: Caller<'_, Guest>, at, length| {
        let body = guest.data_mut().last_response().body.clone();
        copied(&mut guest, &body, Region { at, length })
    })?;
    Ok(())
}

async fn send(mut guest: Caller<'_, Guest>, head: Region, body: Region) -> Called<i32> {
    // One byte more than the limit is enough to be refused.
    let most = guest.data().services().request_bytes().saturating_add(1);
    let head = head.copy(&mut guest, MAX_JSON_BYTES as u64 + 1)?;
    let body = body.copy(&mut guest, most)?;
    let guest = guest.data_mut();
    guest.forget();
    if head.len() > MAX_JSON_BYTES {
        return Ok(guest.unsent(&format!("its JSON has more than {MAX_JSON_BYTES} bytes")));
    }
    let request = match read(&head, body) {
        Ok(request) => request,
        Err(why) => return Ok(guest.unsent(&why)),
    };
    // A request that was refused or aborted is in the log already.
    let sending = guest.services().send(request, Timeouts::default()).await;
    let Ok((head, mut body)) = sending.map(http::Response::into_parts) else { return Ok(REFUSED) };
    let Ok(body) = body.rest().await else { return Ok(REFUSED) };
    let response = LastResponse { headers: headers_json(&head.headers), body };
    if !guest.budget_mut().hold(response.bytes()) {
        let length = response.bytes();
        return Ok(guest.unsent(&format!(
            "the memory limit leaves no room for its response of {length} bytes"
        )));
    }
    *guest.last_response() = response;
    Ok(i32::from(head.status.as_u16()))
}

impl Guest {
    /// Drops the last response.
    fn forget(&mut self) {
        let before = std::mem::take(self.last_response()).bytes();
        self.budget_mut().give_back(before);
    }

    /// Logs why a request was not sent, or its response not stored.
    fn unsent(&mut self, why: &str) -> i32 {
        self.channel().log(
            Level::Warn,
            "jobwright",
            format!("http_send refused: {why}").as_bytes(),
        );
        REFUSED
    }
}

/// Copies as much as the guest has room for; returns the length of all of it, or [`NONE`] if there is no
/// response.
fn copied(guest: &mut Caller<'_, Guest>, found: &[u8], to: Region) -> Called<i32> {
    if guest.data_mut().last_response().headers.is_empty() {
        return Ok(NONE);
    }
    to.fill(guest, found)
}
