//! Programs of others that some tests need.

use std::process::Command;

/// Whether a program is installed; says so if not. Where all must be (`VOUCHSAFE_REQUIRE_TOOLS`), a
/// test is not left out for the lack of one.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    let is_installed = Command::new(program).arg("--version").output().is_ok();
    if !is_installed {
        eprintln!("{program} is not installed: nothing was tested");
        let required = std::env::var_os("VOUCHSAFE_REQUIRE_TOOLS").is_some();
        assert!(!required, "{program} is required here");
    }
    is_installed
}
