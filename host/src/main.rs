//! The `jobwright` program: everything is in [`jobwright::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    jobwright::cli::main()
}
