//! A disk that fails: whatever call of the real program gets an error, and however little room there
//! is, nothing that was answered is lost, and everything goes on as soon as the disk does.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lists;
mod strace;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};

use home::{Home, VOUCHSAFE};
use lists::Lists;
use serde_json::Value;

/// What a call is told instead of being done: which calls, with what, on which file of the home.
struct Fault {
    calls: &'static str,
    error: &'static str,
    /// `None`: on any.
    file: Option<&'static str>,
}

const fn fault(calls: &'static str, error: &'static str, file: Option<&'static str>) -> Fault {
    Fault { calls, error, file }
}

const WRITES: &str = "write,pwrite64,ftruncate,fallocate";
const SYNCS: &str = "fsync,fdatasync,sync_file_range";

/// Each file alone, so that each is hit while the others are well; then whatever comes.
const FAULTS: [Fault; 7] = [
    fault(SYNCS, "EIO", Some("journal.jsonl")),
    fault(WRITES, "ENOSPC", Some("journal.jsonl")),
    fault(SYNCS, "EIO", Some("store")),
    fault(WRITES, "ENOSPC", Some("store")),
    fault(SYNCS, "EIO", None),
    fault("rename,renameat,renameat2,link,linkat", "EIO", None),
    fault(WRITES, "ENOSPC", None),
];

/// What the CA has said so far.
struct Story {
    home: Home,
    /// The file in which the store is.
    store: &'static str,
    issued: Vec<String>,
    revoked: Vec<String>,
    /// Commands that were answered although something failed, and those that were not.
    answered: usize,
    failed: usize,
}

impl Story {
    fn begin(store: &str, file: &'static str) -> Self {
        let home = Home::with(&["--store", store]);
        Self { home, store: file, issued: vec![], revoked: vec![], answered: 0, failed: 0 }
    }

    /// Issues, or revokes what was issued last: with the call number `nth` of each thread failing.
    /// Says whether there was such a call.
    fn strike(&mut self, fault: &Fault, nth: usize, revokes: bool) -> bool {
        let (verb, what) = match self.issued.last().filter(|_| revokes) {
            Some(serial) => ("revoke", serial.clone()),
            None => ("issue", format!("device-{}-{nth}", self.answered + self.failed)),
        };
        let trace = self.home.path("trace");
        let mut strace = self.home.command("strace");
        strace.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        strace.args(["-f", "-I2", "-e", &format!("trace={}", fault.calls), "-o"]).arg(&trace);
        let inject = format!("inject={}:error={}:when={nth}", fault.calls, fault.error);
        strace.args(["-e", &inject]);
        if let Some(file) = fault.file {
            let file = if file == "store" { self.store } else { file };
            strace.arg("-P").arg(self.home.path("home").join(file));
        }
        let output = strace.args([VOUCHSAFE, verb, &what, "--json"]).output().unwrap();
        let was_hit = fs::read_to_string(trace).unwrap().contains("(INJECTED)");
        // Where nothing can be written, nothing can be said.
        let says_nothing = fault.file.is_none() && fault.calls == WRITES;
        self.remember(verb, what, &output, says_nothing);
        was_hit
    }

    fn remember(&mut self, verb: &str, what: String, output: &Output, says_nothing: bool) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            // It says what is wrong; it was not told to die.
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            let is_said = stderr.starts_with("error: ") || stderr.contains("\nerror: ");
            assert!(is_said || says_nothing, "{stderr}");
            self.failed += 1;
            return;
        }
        self.answered += 1;
        if verb == "issue" {
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            self.issued.push(answer["serial"].as_str().unwrap().to_owned());
        } else {
            self.revoked.push(what);
        }
    }

    /// The disk is well again: everything that was answered is so, and the history is whole.
    fn check(&self, lists: &Lists) {
        let known: Value = serde_json::from_str(&self.home.run(&["list", "--json"])).unwrap();
        let known = known.as_array().unwrap();
        let status = |serial: &String| {
            let found = known.iter().find(|known| known["serial"] == **serial);
            found.unwrap_or_else(|| panic!("{serial} was issued and is unknown"))["status"].clone()
        };
        self.issued.iter().for_each(|serial| drop(status(serial)));
        for serial in &self.revoked {
            assert_eq!(status(serial), "revoked", "{serial}");
        }
        let history = self.home.run(&["audit", "--verify", "--json"]);
        assert_eq!(serde_json::from_str::<Value>(&history).unwrap()["whole"], true);
        lists.look();
        for serial in &self.revoked {
            assert!(lists.last().contains(serial), "{serial} is missing from crl.pem");
        }
    }
}

fn survives_every_failing_call(store: &str, file: &'static str) {
    if !strace::can(&["-e", "inject=fsync:error=EIO"]) {
        return;
    }
    let mut story = Story::begin(store, file);
    let lists = Lists::watch(&story.home);
    let mut struck = 0;
    for fault in &FAULTS {
        for revokes in [false, true] {
            let mut nth = 1;
            while story.strike(fault, nth, revokes) {
                story.check(&lists);
                (nth, struck) = (nth + 1, struck + 1);
            }
        }
    }
    story.check(&lists);
    let published = lists.finish();
    let (answered, failed) = (story.answered, story.failed);
    eprintln!(
        "{store}: {struck} commands with a failing call; {failed} failed, {answered} answered; {published} lists"
    );
    assert!(struck > 30 && failed > 15, "{struck} struck, {failed} failed");
}

#[test]
fn whatever_call_fails_nothing_that_was_answered_is_lost() {
    survives_every_failing_call("sled", "store/db");
}

#[test]
fn whatever_call_fails_nothing_that_was_answered_is_lost_on_redb() {
    survives_every_failing_call("redb", "store/redb");
}

/// A file system of a few mebibytes, which goes with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(home: &Home) -> Option<Self> {
        let path = home.path("small");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(&path);
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        if !is_mounted {
            eprintln!("a file system can be mounted by root only: nothing was tested");
        }
        is_mounted.then_some(Self(path))
    }

    /// Leaves so many octets.
    fn leave(&self, octets: u64) {
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        while ballast.write_all(&[0x5a; 4096]).is_ok() {}
        let length = ballast.metadata().unwrap().len();
        ballast.set_len(length.saturating_sub(octets)).unwrap();
    }

    fn relieve(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that fails may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn survives_a_full_disk(store: &str) {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(&home) else { return };
    let on_disk = |arguments: &[&str]| {
        let mut command = home.command(VOUCHSAFE);
        command.args(["--home", "small/ca", "--json"].map(OsStr::new)).args(arguments);
        command.output().unwrap()
    };
    let json = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap();
    assert!(
        on_disk(&["init", "--trust-domain", "acme.example", "--store", store]).status.success()
    );
    let (mut serials, mut failed) = (vec![], 0);
    for nth in 0..16 {
        disk.leave(nth * 4 * 1024);
        let issued = on_disk(&["issue", &format!("device-{nth}"), "--out", &format!("id-{nth}")]);
        if issued.status.success() {
            serials.push(json(&issued)["serial"].as_str().unwrap().to_owned());
        } else {
            let said = String::from_utf8_lossy(&issued.stderr).into_owned();
            assert_eq!(issued.status.code(), Some(1), "{said}");
            assert!(said.contains("No space left") || said.contains("hint: "), "{said}");
            failed += 1;
        }
        disk.relieve();
        let known = on_disk(&["list"]);
        assert!(known.status.success(), "{}", String::from_utf8_lossy(&known.stderr));
        let known = known.stdout;
        let known = String::from_utf8(known).unwrap();
        assert!(serials.iter().all(|serial| known.contains(serial)), "{serials:?}\n{known}");
        assert_eq!(json(&on_disk(&["audit", "--verify"]))["whole"], true);
    }
    eprintln!("{store}: {failed} of 16 found no room, {} were answered", serials.len());
    assert!(failed > 0 && !serials.is_empty());
}

#[test]
fn a_full_disk_loses_nothing() {
    survives_a_full_disk("sled");
}

#[test]
fn a_full_disk_loses_nothing_on_redb() {
    survives_a_full_disk("redb");
}
