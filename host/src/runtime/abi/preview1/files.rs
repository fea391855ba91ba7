//! Files: there are none. A guest finds one directory, `/`, which is empty and cannot be written to.
//!
//! The directory exists so that the log can say, once, that there are no files: C libraries search
//! for the directory of a path before they open a file, and make no call if there is none.
//!
//! Invariant: nothing here touches a file of the host, and nothing is kept: all descriptors of `/` are
//! [`ROOT`], which is always open.

use wasmtime::{Caller, FuncType, Linker, Val, ValType};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as preview1;
use wiggle::GuestMemory;

use super::super::super::guest::Guest;
use super::errno::{self, Errno};
use super::memory::{memory, slice};
use super::rights::{Rights, rights};
use super::version::PREVIEW1;

/// The descriptor of `/`: the first after the standard streams.
const ROOT: i32 = 3;

/// The types of a directory and of descriptors without a type of their own, such as the standard
/// streams.
const DIRECTORY: u8 = 3;
const UNKNOWN: u8 = 0;

/// All rights: each call decides by itself whether it is possible.
const ALL_RIGHTS: u64 = (1 << 29) - 1;

const STAT: &str = "path_filestat_get";
const OPEN: &str = "path_open";

/// The longest path that is read, in bytes: as on Linux.
const MAX_PATH_BYTES: usize = 4096;

/// The flag of `path_open` that creates a file.
const CREATE: i32 = 1;

/// A function that takes a path.
#[derive(Debug, Clone, Copy)]
struct PathCall {
    name: &'static str,
    /// `i` for a parameter of 32 bits, `l` for one of 64.
    parameters: &'static str,
    /// The position of the path's address; its length follows.
    at: At,
    /// The error number for a path in `/` that is not `/` itself.
    answer: i32,
}

/// The positions of the directory's descriptor and of the path's address among the parameters of a
/// [`PathCall`].
#[derive(Debug, Clone, Copy)]
struct At {
    directory: usize,
    path: usize,
}

/// The first two parameters.
const FIRST: At = At { directory: 0, path: 1 };

/// Like [`FIRST`], with flags in between.
const AFTER_FLAGS: At = At { directory: 0, path: 2 };

const PATH_CALLS: [PathCall; 10] = [
    call("path_create_directory", "iii", FIRST, errno::ROFS),
    call(STAT, "iiiii", AFTER_FLAGS, errno::NOENT),
    call("path_filestat_set_times", "iiiilli", AFTER_FLAGS, errno::NOENT),
    call("path_link", "iiiiiii", AFTER_FLAGS, errno::NOENT),
    call(OPEN, "iiiiillii", AFTER_FLAGS, errno::NOENT),
    call("path_readlink", "iiiiii", FIRST, errno::NOENT),
    call("path_remove_directory", "iii", FIRST, errno::NOENT),
    call("path_rename", "iiiiii", FIRST, errno::NOENT),
    call("path_symlink", "iiiii", At { directory: 2, path: 3 }, errno::ROFS),
    call("path_unlink_file", "iii", FIRST, errno::NOENT),
];

const fn call(name: &'static str, parameters: &'static str, at: At, answer: i32) -> PathCall {
    PathCall { name, parameters, at, answer }
}

pub(super) fn link(linker: &mut Linker<Guest>, module: &'static str) -> wasmtime::Result<()> {
    let stat_bytes = if module == PREVIEW1 { 64 } else { 56 };
    for call in PATH_CALLS {
        let types = call.parameters.bytes().map(|byte| match byte {
            b'l' => ValType::I64,
            _ => ValType::I32,
        });
        let ty = FuncType::new(linker.engine(), types, [ValType::I32]);
        linker.func_new(module, call.name, ty, move |mut guest, given, answer| {
            answer[0] = Val::I32(call.answer(&mut guest, given, stat_bytes)?);
            Ok(())
        })?;
    }
    link_preopen(linker, module)?;
    link_status(linker, module, stat_bytes)?;
    linker.func_wrap(module, "fd_close", |mut guest: Caller<'_, Guest>, fd: i32| match fd {
        ROOT => Ok(errno::SUCCESS),
        _ => {
            let mut none = GuestMemory::Unshared(&mut []);
            let closing = preview1::fd_close(guest.data_mut().wasi(), &mut none, fd);
            wiggle::run_in_dummy_executor(closing)?
        }
    })?;
    Ok(())
}

/// Links the functions that describe an open descriptor.
fn link_status(
    linker: &mut Linker<Guest>,
    module: &str,
    stat_bytes: usize,
) -> wasmtime::Result<()> {
    linker.func_wrap(module, "fd_filestat_get", move |mut guest: Caller<'_, Guest>, fd, to| {
        let kind = match fd {
            ROOT => DIRECTORY,
            _ if rights(guest.data_mut().wasi(), fd)?.is_some() => UNKNOWN,
            _ => return Ok(errno::BADF),
        };
        put(&mut guest, to, &stat(kind)[..stat_bytes])
    })?;
    linker.func_wrap(
        module,
        "fd_fdstat_get",
        |mut guest: Caller<'_, Guest>, fd: i32, to: u32| match (
            fd,
            rights(guest.data_mut().wasi(), fd)?,
        ) {
            (ROOT, _) => put(&mut guest, to, &status(DIRECTORY, ALL_RIGHTS)),
            (_, Some(Rights(rights))) => put(&mut guest, to, &status(UNKNOWN, rights)),
            (_, None) => Ok(errno::BADF),
        },
    )?;
    Ok(())
}

/// Links the functions that describe `/`, its name and its entries.
fn link_preopen(linker: &mut Linker<Guest>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(
        module,
        "fd_prestat_get",
        |mut guest: Caller<'_, Guest>, fd, to| match fd {
            // The tag 0, and the length of the name.
            ROOT => put(&mut guest, to, &[0, 0, 0, 0, 1, 0, 0, 0]),
            _ => Ok(errno::BADF),
        },
    )?;
    let name = |mut guest: Caller<'_, Guest>, fd, to, room: u32| match (fd, room) {
        (ROOT, 0) => Ok(errno::NAMETOOLONG),
        (ROOT, _) => put(&mut guest, to, b"/"),
        _ => Ok(errno::BADF),
    };
    linker.func_wrap(module, "fd_prestat_dir_name", name)?;
    let list = |mut guest: Caller<'_, Guest>, fd, _: u32, _: u32, _: u64, length| match fd {
        ROOT => put(&mut guest, length, &[0; 4]),
        _ => Ok(errno::BADF),
    };
    linker.func_wrap(module, "fd_readdir", list)?;
    Ok(())
}

impl PathCall {
    /// The error number of a call with these arguments.
    fn answer(self, guest: &mut Caller<'_, Guest>, given: &[Val], stat_bytes: usize) -> Errno {
        let number = |at: usize| given.get(at).and_then(Val::i32).unwrap_or_default();
        let address = |at: usize| number(at).cast_unsigned();
        let memory = memory(guest)?;
        let (bytes, data) = memory.data_and_store_mut(&mut *guest);
        let path = slice(bytes, address(self.at.path), address(self.at.path + 1).into())?;
        let in_root = number(self.at.directory) == ROOT;
        let is_long = path.len() > MAX_PATH_BYTES;
        let is_root = in_root && !is_long && is_root(path);
        if !is_root && self.name != STAT {
            data.channel_mut().tell_of_no_files(path);
        }
        match self.name {
            _ if !in_root => Ok(errno::BADF),
            _ if is_long => Ok(errno::NAMETOOLONG),
            STAT if is_root => put(guest, address(4), &stat(DIRECTORY)[..stat_bytes]),
            OPEN if is_root => put(guest, address(8), &ROOT.to_le_bytes()),
            OPEN if number(4) & CREATE != 0 => Ok(errno::ROFS),
            _ => Ok(self.answer),
        }
    }
}

/// Whether a path in `/` leads to `/`.
pub(in super::super) fn is_root(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').all(|part| matches!(part, b"" | b"."))
}

/// A `filestat` with a type and nothing else.
fn stat(kind: u8) -> [u8; 64] {
    let mut stat = [0; 64];
    stat[16] = kind;
    stat
}

/// An `fdstat`. The inherited rights have no effect, because nothing can be opened.
fn status(kind: u8, rights: u64) -> [u8; 24] {
    let mut status = [0; 24];
    status[0] = kind;
    status[8..16].copy_from_slice(&rights.to_le_bytes());
    status[16..].copy_from_slice(&rights.to_le_bytes());
    status
}

/// Writes a result to the guest's memory.
fn put(guest: &mut Caller<'_, Guest>, at: u32, bytes: &[u8]) -> Errno {
    let memory = memory(guest)?;
    slice(memory.data_mut(&mut *guest), at, bytes.len() as u64)?.copy_from_slice(bytes);
    Ok(errno::SUCCESS)
}
