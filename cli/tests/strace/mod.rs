//! Whether system calls can be watched, and made to fail, on this machine.

use std::process::{Command, Stdio};

/// Whether `strace` does this here; says so if not. Where `VOUCHSAFE_REQUIRE_TOOLS` is set, it must.
pub(crate) fn can(options: &[&str]) -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null"]).args(options).arg("true");
    let strace = strace.stdout(Stdio::null()).stderr(Stdio::null());
    let possible = strace.status().is_ok_and(|status| status.success());
    if !possible {
        eprintln!("strace is not installed or may not be used: nothing was tested");
        let required = std::env::var_os("VOUCHSAFE_REQUIRE_TOOLS").is_some();
        assert!(!required, "strace is required here");
    }
    possible
}
