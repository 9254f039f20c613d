//! Starts the runtime and calls the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One crypto provider for every connection, installed before the first: reqwest is built without one.
    // An error means that one is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    vend::cli::main()
}
