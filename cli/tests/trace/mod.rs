//! What a command asks of the operating system, as `strace` saw it.

use std::collections::HashMap;
use std::fs;
use std::process::{Command, Stdio};

use crate::home::{Home, VOUCHSAFE};

const CALLS: &str = "trace=fdatasync,fsync,write,pwrite64,openat,rename,renameat,renameat2";

/// One call, written as in C, with the paths of descriptors: `fsync(3</path>) = 0`.
pub(crate) struct Call(String);

impl Call {
    /// Whether it is this call, on something that is named so.
    pub(crate) fn is(&self, name: &str, on: &str) -> bool {
        self.0.strip_prefix(name).is_some_and(|rest| rest.starts_with('(') && rest.contains(on))
    }

    /// Whether it is one of several, on something that is named so.
    pub(crate) fn is_any(&self, names: &[&str], on: &str) -> bool {
        names.iter().any(|name| self.is(name, on))
    }

    /// Whether it writes to standard output.
    pub(crate) fn is_answer(&self) -> bool {
        self.0.starts_with("write(1<")
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// Whether a command can be watched here.
pub(crate) fn is_possible() -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-e", CALLS, "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    strace.status().is_ok_and(|status| status.success())
}

/// Runs a command, which must succeed, and tells what it did in which order.
pub(crate) fn trace(home: &Home, arguments: &[&str]) -> Vec<Call> {
    let file = home.path("trace");
    let mut strace = home.command("strace");
    if let Some(path) = std::env::var_os("PATH") {
        strace.env("PATH", path);
    }
    strace.args(["-f", "-y", "-s", "1000", "-e", CALLS, "-o"]).arg(&file);
    let output = strace.arg(VOUCHSAFE).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    calls(&fs::read_to_string(&file).unwrap())
}

/// A call of one thread may be cut in two by calls of others: a sync counts when it is done, a write
/// to standard output when it begins.
fn calls(text: &str) -> Vec<Call> {
    let mut begun = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (thread, line) = line.split_once(char::is_whitespace).unwrap();
        let line = line.trim_start();
        if let Some(beginning) = line.strip_suffix(" <unfinished ...>") {
            let call = Call(beginning.to_owned());
            if call.is_answer() {
                calls.push(call);
            } else {
                begun.insert(thread, call.0);
            }
        } else if let Some((_, end)) = line.split_once(" resumed>") {
            calls.extend(begun.remove(thread).map(|beginning| Call(beginning + end)));
        } else {
            calls.push(Call(line.to_owned()));
        }
    }
    calls
}
