//! What a command asks of the operating system, as `strace` saw it.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use crate::home::{Home, VOUCHSAFE};
use crate::strace;

/// Those that write to files and sockets, and those that make files durable.
const CALLS: &str =
    "trace=fdatasync,fsync,write,writev,sendto,sendmsg,pwrite64,openat,rename,renameat,renameat2";

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

    /// Whether it sends something, and to whom: the socket, with the address at its other end.
    pub(crate) fn sends_to(&self) -> Option<&str> {
        let sends = ["write(", "writev(", "sendto(", "sendmsg("];
        let rest = sends.iter().find_map(|name| self.0.strip_prefix(name))?;
        let (_, socket) = rest.split_once("<TCP")?;
        socket.split_once("]>").map(|(socket, _)| socket)
    }

    /// What it returned; `None` if that was an error, or it never returned.
    pub(crate) fn returned(&self) -> Option<usize> {
        self.0.rsplit_once(" = ")?.1.split(' ').next()?.parse().ok()
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// Whether a command can be watched here.
pub(crate) fn is_possible() -> bool {
    strace::can(&["-f", "-yy", "-e", CALLS])
}

/// Runs a command, which must succeed, and tells what it did in which order.
pub(crate) fn trace(home: &Home, arguments: &[&str]) -> Vec<Call> {
    let output = watched(home).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    seen(home)
}

/// The binary, watched from its first call to its last; its arguments are still to come.
pub(crate) fn watched(home: &Home) -> Command {
    let mut strace = home.command("strace");
    if let Some(path) = std::env::var_os("PATH") {
        strace.env("PATH", path);
    }
    // -I2: what ends the watcher ends whom it watches.
    strace.args(["-f", "-I2", "-yy", "-s", "65536", "-e", CALLS, "-o"]).arg(home.path("trace"));
    strace.arg(VOUCHSAFE);
    strace
}

/// What it did in which order, once it has ended.
pub(crate) fn seen(home: &Home) -> Vec<Call> {
    calls(&fs::read_to_string(home.path("trace")).unwrap())
}

/// A call of one thread may be cut in two by calls of others: a sync counts when it is done, whatever
/// others can see of an answer when it begins.
fn calls(text: &str) -> Vec<Call> {
    let (mut calls, mut begun, mut sending) = (Vec::<Call>::new(), HashMap::new(), HashMap::new());
    for line in text.lines() {
        let (thread, line) = line.split_once(char::is_whitespace).unwrap();
        let line = line.trim_start();
        if let Some(beginning) = line.strip_suffix(" <unfinished ...>") {
            let call = Call(beginning.to_owned());
            if call.is_answer() || call.sends_to().is_some() {
                sending.insert(thread, calls.len());
                calls.push(call);
            } else {
                begun.insert(thread, call.0);
            }
        } else if let Some((_, end)) = line.split_once(" resumed>") {
            match sending.remove(thread) {
                Some(at) => calls[at].0.push_str(end),
                None => calls.extend(begun.remove(thread).map(|start| Call(start + end))),
            }
        } else {
            calls.push(Call(line.to_owned()));
        }
    }
    calls
}
