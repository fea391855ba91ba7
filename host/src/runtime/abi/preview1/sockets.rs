//! Sockets: there are none. wasmtime's functions would trap, or write a warning to the host's own
//! log at each call.

use wasmtime::{Caller, Linker};

use super::super::super::guest::Guest;
use super::errno::{self, Errno};
use super::rights::rights;
use super::version::PREVIEW1;

pub(super) fn link(linker: &mut Linker<Guest>, module: &str) -> wasmtime::Result<()> {
    let refused = |mut guest: Caller<'_, Guest>, descriptor: i32| -> Errno {
        Ok(match rights(guest.data_mut().wasi(), descriptor)? {
            Some(_) => errno::NOTSOCK,
            None => errno::BADF,
        })
    };
    if module == PREVIEW1 {
        let accept = move |guest: Caller<'_, Guest>, descriptor: i32, _: i32, _: i32| {
            refused(guest, descriptor)
        };
        linker.func_wrap(module, "sock_accept", accept)?;
    }
    let receive =
        move |guest: Caller<'_, Guest>, fd: i32, _: i32, _: i32, _: i32, _: i32, _: i32| {
            refused(guest, fd)
        };
    linker.func_wrap(module, "sock_recv", receive)?;
    let send =
        move |guest: Caller<'_, Guest>, fd: i32, _: i32, _: i32, _: i32, _: i32| refused(guest, fd);
    linker.func_wrap(module, "sock_send", send)?;
    let shutdown = move |guest: Caller<'_, Guest>, fd: i32, _: i32| refused(guest, fd);
    linker.func_wrap(module, "sock_shutdown", shutdown)?;
    Ok(())
}
