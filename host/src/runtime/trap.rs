//! Descriptions of traps: a stable code for programs, a message and the guest's frames for people.

use std::fmt::Write as _;

use jobwright_core::name::shorten;
use jobwright_core::outcome::{AttemptError, MAX_BACKTRACE_BYTES};
use wasmtime::{Error, FrameInfo, Trap, WasmBacktrace};

/// The error of a trap.
pub(super) fn describe(error: &Error) -> AttemptError {
    match error.downcast_ref::<Trap>() {
        Some(trap) => AttemptError::new(code(*trap), trap.to_string()),
        // The innermost cause is the reason; the outer ones are contexts of the host.
        None => {
            AttemptError::new("host_call", format!("a host call failed: {}", error.root_cause()))
        }
    }
}

/// The code of a trap.
fn code(trap: Trap) -> &'static str {
    match trap {
        Trap::UnreachableCodeReached => "unreachable",
        Trap::MemoryOutOfBounds => "memory_out_of_bounds",
        Trap::TableOutOfBounds => "table_out_of_bounds",
        Trap::IndirectCallToNull => "indirect_call_to_null",
        Trap::BadSignature => "indirect_call_type_mismatch",
        Trap::IntegerOverflow => "integer_overflow",
        Trap::IntegerDivisionByZero => "integer_division_by_zero",
        Trap::BadConversionToInteger => "bad_conversion_to_integer",
        Trap::HeapMisaligned => "unaligned_atomic",
        Trap::AtomicWaitNonSharedMemory => "atomic_wait_on_unshared_memory",
        Trap::NullReference => "null_reference",
        Trap::ArrayOutOfBounds => "array_out_of_bounds",
        Trap::AllocationTooLarge => "allocation_too_large",
        Trap::CastFailure => "cast_failure",
        Trap::StackOverflow => "stack",
        Trap::OutOfFuel => "fuel",
        Trap::Interrupt => "interrupt",
        Trap::CannotEnterComponent | Trap::CannotLeaveComponent => "component_reentered",
        Trap::StringOutOfBounds | Trap::ListOutOfBounds | Trap::UnalignedPointer => "bad_pointer",
        Trap::InvalidChar | Trap::InvalidDiscriminant => "bad_value",
        // Of proposals that are not compiled in.
        _ => "trap",
    }
}

/// The frames, innermost first, a line for each and one more for its place in the source. Names
/// stand as the plugin has them (linkers leave readable ones), because what a demangler makes of a
/// hostile name has no bound. For the same reason wasmtime's own text is not used.
pub(super) fn show_frames(backtrace: &WasmBacktrace) -> String {
    let mut text = String::new();
    for (index, frame) in backtrace.frames().iter().enumerate() {
        if text.len() > MAX_BACKTRACE_BYTES {
            break;
        }
        show_frame(&mut text, index, frame);
    }
    text
}

fn show_frame(text: &mut String, index: usize, frame: &FrameInfo) {
    let unnamed = || format!("<function {}>", frame.func_index());
    let function = frame.func_name().map_or_else(unnamed, shorten);
    let offset = frame.module_offset().unwrap_or_default();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{index}: {function} ({offset:#x})");
    for symbol in frame.symbols() {
        if let (Some(file), Some(line)) = (symbol.file(), symbol.line()) {
            let _ = writeln!(text, "    at {}:{line}", shorten(file));
        }
    }
}
