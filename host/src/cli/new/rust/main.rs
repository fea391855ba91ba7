//! Outputs its payload in upper case.

use std::io;
use std::process::ExitCode;

/// The exit code that fails the job for good, as in `sysexits.h`; 75 requests a retry.
const BAD_DATA: u8 = 65;

fn main() -> ExitCode {
    match io::read_to_string(io::stdin()) {
        Ok(text) => {
            print!("{}", text.to_uppercase());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(BAD_DATA)
        }
    }
}
