//! The commands of the CA, as somebody at a terminal meets them: what they print, what they leave
//! behind, how they end.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say so and stop"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use vouchsafe_tests::is_installed;

/// A folder with a home in it; nothing of the surrounding environment gets in.
struct Sandbox(TempDir);

/// What a command said, and how it ended.
#[must_use = "say how the command should have ended"]
struct Run(Output);

impl Sandbox {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a CA in it.
    fn with_ca() -> Self {
        let sandbox = Self::new();
        sandbox.run(&["init", "--trust-domain", "acme.example"]).succeeds();
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vouchsafe"));
        command.current_dir(self.0.path()).env_clear().env("VOUCHSAFE_HOME", self.path("home"));
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run(self.command().args(arguments).output().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["--json"]].concat()).succeeds();
        serde_json::from_str(&text).unwrap()
    }

    fn issue(&self, arguments: &[&str]) -> Value {
        self.json(&[&["issue"], arguments].concat())
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    /// The same text for every run: what differs is named.
    fn told(&self, text: &str) -> String {
        let text = text.replace(&self.path("home").display().to_string(), "HOME");
        let mut told = String::new();
        let mut rest = text.as_str();
        while let Some(next) = rest.chars().next() {
            let hex = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
            let is_date = rest.get(..20).is_some_and(|date| {
                let shape = date.bytes().map(|b| if b.is_ascii_digit() { b'9' } else { b });
                shape.eq(*b"9999-99-99 99:99:99 ")
            });
            let (word, length) = match hex {
                32 => ("SERIAL", 32),
                64 => ("HASH", 64),
                _ if is_date => ("DATE", 23),
                0 => ("", next.len_utf8()),
                _ => ("", hex),
            };
            told.push_str(if word.is_empty() { &rest[..length] } else { word });
            rest = &rest[length..];
        }
        told
    }
}

impl Run {
    fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// It did what was asked, and complained of nothing.
    fn succeeds(self) -> String {
        assert_eq!((self.stderr().as_str(), self.0.status.code()), ("", Some(0)));
        self.stdout()
    }

    /// It did not, and said why on stderr alone.
    fn ends_with(self, code: i32) -> String {
        assert_eq!(self.0.status.code(), Some(code), "{}{}", self.stdout(), self.stderr());
        assert_eq!(self.stdout(), "");
        self.stderr()
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} of {value}"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a transcript is read from top to bottom")]
fn the_first_five_minutes() {
    let sandbox = Sandbox::new();
    let run = |arguments: &[&str]| sandbox.told(&sandbox.run(arguments).succeeds());
    assert_eq!(
        run(&["init", "--trust-domain", "acme.example"]),
        "Made a CA for acme.example in HOME
  root         until DATE (in 20 years)
  issuing CA   until DATE (in 5 years)
  trusted by   HOME/roots.pem
  revocations  HOME/crl.pem
  operator     HOME/operator, until DATE (in 90 days)

To keep the root offline, move HOME/root.key away now: issuing and revoking work without it. It is needed again before DATE, for `vouchsafe crl --root-key FILE`.
Who has the operator's identity may do everything at the CA, and grant everything.
Next: vouchsafe issue NAME --allow tools:NAME
"
    );
    assert_eq!(
        run(&[
            "issue",
            "build-7",
            "--allow",
            "tools:search",
            "--allow",
            "resources:file:///docs/*"
        ]),
        "Issued spiffe://acme.example/build-7
  may       resources:file:///docs/*
            tools:search
  valid     until DATE (in 24 hours)
  serial    SERIAL
  identity  build-7 (certificate.pem, key.pem, roots.pem)
"
    );
    assert_eq!(
        run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1", "--ttl", "7d"]),
        "Issued spiffe://acme.example/gw
  may        nothing
  serves as  localhost
             127.0.0.1
  valid      until DATE (in 7 days)
  serial     SERIAL
  identity   gw (certificate.pem, key.pem, roots.pem)
"
    );
    assert_eq!(
        run(&["list"]),
        "NAME      KIND    STATUS  ENDS         SERIAL                            MAY
build-7   agent   valid   in 24 hours  SERIAL  resources:file:///docs/* tools:search
gw        server  valid   in 7 days    SERIAL  nothing
operator  agent   valid   in 90 days   SERIAL  *:*
"
    );
    assert_eq!(
        run(&["inspect", "build-7"]),
        "spiffe://acme.example/build-7 (agent)
  may      resources:file:///docs/*
           tools:search
  valid    until DATE (in 24 hours)
  status   not revoked
  serial   SERIAL
  key      p256
  SHA-256  HASH
"
    );
    assert_eq!(
        run(&["revoke", "build-7", "--reason", "keyCompromise"]),
        "Revoked spiffe://acme.example/build-7 (keyCompromise): 1 certificate, and it gets no new ones
  certificate  SERIAL, would have ended in 24 hours
  list         number 2 in HOME/crl.pem
"
    );
    assert_eq!(
        run(&["revoke", "build-7"]),
        "spiffe://acme.example/build-7 was revoked already, DATE (keyCompromise); nothing to do
  list  number 2 in HOME/crl.pem
"
    );
    assert_eq!(
        run(&["crl"]),
        "Revocation list 3 is in HOME/crl.pem
  revoked      1 certificate
  next update  DATE (in 7 days)
  root's list  next update DATE (in 365 days)
"
    );
    assert_eq!(
        run(&["audit", "--verify"]),
        "The history is whole: 9 records, each bound to the one before, journal and store agree.
Latest: HASH
Keep this hash elsewhere, and nobody can write the history anew without your noticing.
"
    );
    let story = run(&["audit"]);
    let told: Vec<&str> = story.lines().map(|line| line.split("DATE  ").last().unwrap()).collect();
    assert_eq!(told[1], "home    made the CA of acme.example");
    assert_eq!(
        told[7],
        "home    revoked device spiffe://acme.example/build-7 (keyCompromise) with everything it held"
    );
    assert_eq!(told[8], "the CA  signed revocation list 2 of CA SERIAL, until DATE");
}

#[test]
fn an_identity_is_whole_and_its_key_private() {
    let sandbox = Sandbox::with_ca();
    let issued = sandbox.issue(&["team-a/build-7", "--key-type", "ed25519"]);
    assert_eq!(text(&issued, "identity"), "team-a/build-7");
    assert_eq!(text(&issued, "key_type"), "ed25519");
    assert_eq!(sandbox.mode("team-a/build-7"), 0o700);
    assert_eq!(sandbox.mode("team-a/build-7/key.pem"), 0o600);
    let chain = sandbox.text("team-a/build-7/certificate.pem");
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
    assert!(chain.ends_with(&sandbox.text("home/issuing.pem")));
    assert_eq!(sandbox.text("team-a/build-7/roots.pem"), sandbox.text("home/root.pem"));
    let names = fs::read_dir(sandbox.path("team-a")).unwrap().count();
    assert_eq!(names, 1, "nothing unfinished is left behind");
}

#[test]
fn nothing_is_overwritten_unless_asked_for() {
    let sandbox = Sandbox::with_ca();
    sandbox.run(&["issue", "a"]).succeeds();
    let before = sandbox.text("a/key.pem");
    let refused = sandbox.run(&["issue", "a"]).ends_with(1);
    assert_eq!(
        refused,
        "error: a holds an identity already\nhint: say --force to replace it, or --out DIR for another directory\n"
    );
    assert_eq!(sandbox.text("a/key.pem"), before);
    let issued = sandbox.json(&["list", "--principal", "a"]);
    assert_eq!(issued.as_array().unwrap().len(), 1, "and nothing was issued");
    sandbox.run(&["issue", "a", "--force"]).succeeds();
    assert_ne!(sandbox.text("a/key.pem"), before);
    put(&sandbox.path("a/notes.txt"), "mine");
    let refused = sandbox.run(&["issue", "a", "--force"]).ends_with(1);
    assert!(refused.contains("other files than an identity (notes.txt)"), "{refused}");
    fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.run(&["issue", "a", "--out", "empty"]).succeeds();
    sandbox.run(&["issue", "a", "--out", "deeper/down"]).succeeds();
    assert!(sandbox.run(&["init", "--trust-domain", "b"]).ends_with(1).contains("already"));
}

#[test]
fn with_a_request_the_key_stays_where_it_is() {
    if !is_installed("openssl") {
        return;
    }
    let sandbox = Sandbox::with_ca();
    fs::create_dir(sandbox.path("agent")).unwrap();
    let made = Command::new("openssl")
        .current_dir(sandbox.path("agent"))
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=root/O=admins"])
        .args(["-addext", "subjectAltName=URI:spiffe://acme.example/admin"])
        .output()
        .unwrap();
    assert!(made.status.success());
    let key = sandbox.text("agent/key.pem");
    let arguments =
        ["build-7", "--csr", "agent/request.pem", "--out", "agent", "--allow", "tools:a"];
    let issued = sandbox.issue(&arguments);
    // Nothing of what the request asks for is granted.
    assert_eq!(text(&issued, "principal"), "spiffe://acme.example/build-7");
    assert_eq!(issued["permissions"], serde_json::json!(["tools:a"]));
    assert_eq!(sandbox.text("agent/key.pem"), key);
    assert!(sandbox.path("agent/certificate.pem").exists());
    assert!(sandbox.path("agent/roots.pem").exists());
    assert!(sandbox.run(&[&["issue"][..], &arguments].concat()).ends_with(1).contains("already"));

    // A key that was lost stays refused, under whatever name.
    sandbox.run(&["revoke", "agent/certificate.pem", "--reason", "keyCompromise"]).succeeds();
    let again = ["issue", "other", "--csr", "agent/request.pem"];
    let refused = sandbox.told(&sandbox.run(&again).ends_with(1));
    assert_eq!(
        refused,
        "error: this key was revoked with certificate SERIAL for keyCompromise and is never certified again\nhint: make a new key\n"
    );
}

#[test]
fn presumptuous_requests_are_refused() {
    if !is_installed("openssl") {
        return;
    }
    let sandbox = Sandbox::with_ca();
    let everything = "1.2.840.113556.1.8000.2554.40490.50628.23376.18427.46540.12716354.636824=DER:30:0A:02:01:00:30:05:0C:03:2A:3A:2A";
    let authority = "the request asks to become a certificate authority";
    let permissions =
        "the request names permissions; permissions are granted by the CA, never asked for";
    for (extension, reason) in [
        ("basicConstraints=CA:TRUE", authority),
        ("keyUsage=digitalSignature,keyCertSign", authority),
        ("keyUsage=digitalSignature,cRLSign", authority),
        (everything, permissions),
    ] {
        let made = Command::new("openssl")
            .current_dir(sandbox.path(""))
            .args(["req", "-new", "-newkey", "ed25519", "-nodes", "-keyout", "k.pem"])
            .args(["-out", "r.pem", "-subj", "/CN=x", "-addext", extension])
            .output()
            .unwrap();
        assert!(made.status.success());
        let refused = sandbox.run(&["issue", "a", "--csr", "r.pem"]).ends_with(1);
        assert_eq!(refused, format!("error: r.pem is refused: {reason}\n"));
        assert!(!sandbox.path("a").exists());
    }
    assert!(sandbox.json(&["list", "--principal", "a"]).as_array().unwrap().is_empty());
}

#[test]
fn revoke_understands_what_people_have_at_hand() {
    let sandbox = Sandbox::with_ca();
    let issue = || sandbox.issue(&["build-7", "--force"]);
    let revoke = |what: &str| sandbox.json(&["revoke", what]);
    let by_serial = issue();
    let serial = text(&by_serial, "serial");
    assert_eq!(revoke(serial)["certificates"][0]["serial"], serial);
    assert_eq!(revoke(serial)["changed"], false);
    // As openssl writes it.
    let issued = issue();
    let colons = |hex: &str| {
        let pairs =
            hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).to_uppercase());
        pairs.collect::<Vec<_>>().join(":")
    };
    assert_eq!(revoke(&colons(text(&issued, "fingerprint")))["changed"], true);
    let issued = issue();
    assert_eq!(revoke(&colons(text(&issued, "serial")))["changed"], true);
    issue();
    assert_eq!(revoke("build-7/certificate.pem")["changed"], true);
    // A directory of that name is not in the way of the device.
    issue();
    let device = revoke("build-7");
    assert_eq!(device["device"], "spiffe://acme.example/build-7");
    assert_eq!(device["certificates"].as_array().unwrap().len(), 1);
    assert_eq!(revoke("spiffe://acme.example/build-7")["changed"], false);
    sandbox.run(&["revoke", "build-7", "--reinstate"]).succeeds();
    issue();
    let of_device = ["list", "--active", "--principal", "build-7"];
    assert_eq!(sandbox.json(&of_device).as_array().unwrap().len(), 1);
    assert_eq!(sandbox.json(&["list", "--revoked"]).as_array().unwrap().len(), 5);
}

#[test]
fn revoke_never_guesses() {
    let sandbox = Sandbox::with_ca();
    for unknown in ["build-8", "0123", "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f", "./nothing.pem"] {
        let refused = sandbox.run(&["revoke", unknown]).ends_with(1);
        assert!(refused.contains("vouchsafe list shows what there is"), "{refused}");
    }
    let refused = sandbox.run(&["revoke", "spiffe://acme.example/build-8"]).ends_with(1);
    assert!(refused.starts_with("error: no certificate was ever issued to"), "{refused}");
    // A file and a device of one name.
    sandbox.run(&["issue", "build-7", "--out", "identity"]).succeeds();
    fs::copy(sandbox.path("identity/certificate.pem"), sandbox.path("build-7")).unwrap();
    let refused = sandbox.run(&["revoke", "build-7"]).ends_with(2);
    assert!(refused.starts_with("error: build-7 can mean more than one thing"), "{refused}");
    sandbox.run(&["revoke", "./build-7"]).succeeds();
    // A certificate of somebody else's CA, and a CA's own.
    let other = Sandbox::with_ca();
    other.run(&["issue", "build-7", "--out", "identity"]).succeeds();
    let foreign = other.path("identity/certificate.pem").display().to_string();
    let refused = sandbox.run(&["revoke", &foreign]).ends_with(1);
    assert!(refused.contains("this CA has not issued it"), "{refused}");
    let refused = sandbox.run(&["revoke", "home/issuing.pem"]).ends_with(1);
    assert!(refused.contains("a CA certificate cannot stand for a principal"), "{refused}");
    assert!(
        sandbox
            .run(&["revoke", "build-7", "--reason", "stolen"])
            .ends_with(2)
            .contains("keyCompromise")
    );
}

#[test]
fn lists_can_be_narrowed() {
    let sandbox = Sandbox::with_ca();
    sandbox.issue(&["a", "--allow", "tools:*", "--ttl", "1h"]);
    sandbox.issue(&["b", "--allow", "tools:search", "--allow", "prompts:x"]);
    sandbox.issue(&["c"]);
    sandbox.run(&["revoke", "c"]).succeeds();
    let names = |arguments: &[&str]| {
        let listed = sandbox.json(&[&["list"], arguments].concat());
        let name = |view: &Value| text(view, "principal").replace("spiffe://acme.example/", "");
        listed.as_array().unwrap().iter().map(name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&[]), "a b c operator");
    assert_eq!(names(&["--active"]), "a b operator");
    assert_eq!(names(&["--revoked"]), "c");
    assert_eq!(names(&["--expired"]), "");
    assert_eq!(names(&["--expiring", "2h"]), "a");
    assert_eq!(names(&["--principal", "b"]), "b");
    assert_eq!(names(&["--may", "tools:search"]), "a b operator");
    assert_eq!(names(&["--may", "tools:other"]), "a operator");
    assert_eq!(names(&["--may", "prompts:x", "--active"]), "b operator");
    assert_eq!(sandbox.run(&["list", "--expired"]).succeeds(), "No certificates.\n");
    assert!(
        sandbox
            .run(&["list", "--active", "--revoked"])
            .ends_with(2)
            .contains("cannot be used with")
    );
}

#[test]
fn roles_grant_what_ca_toml_says_to_whom_it_says() {
    let sandbox = Sandbox::with_ca();
    let roles = "[roles.reader]\nallow = [\"tools:search\"]\nttl = \"2h\"\nnames = [\"build-*\"]\n";
    let config = sandbox.text("home/ca.toml") + roles;
    fs::remove_file(sandbox.path("home/ca.toml")).unwrap();
    put(&sandbox.path("home/ca.toml"), &config);
    let issued = sandbox.issue(&["build-7", "--role", "reader", "--allow", "tools:a"]);
    assert_eq!(issued["permissions"], serde_json::json!(["tools:a", "tools:search"]));
    let row = sandbox.run(&["list"]).succeeds();
    assert!(row.contains("in 2 hours") || row.contains("in 120 minutes"), "{row}");
    for (arguments, expected) in [
        (["gw", "--role", "reader", "--force"], "role reader may not be given to gw"),
        (["build-8", "--role", "writer", "--force"], "ca.toml knows no role writer"),
    ] {
        let refused = sandbox.run(&[&["issue"][..], &arguments].concat()).ends_with(1);
        assert!(refused.contains(expected), "{refused}");
    }
    let long = ["issue", "build-8", "--role", "reader", "--ttl", "3h"];
    assert!(sandbox.run(&long).ends_with(1).contains("longer than the 2h of the role"));
}

/// A file of the user's own.
fn put(path: &Path, text: &str) {
    use std::io::Write;
    fs::File::create_new(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn passphrases_come_from_files_and_never_from_thin_air() {
    let sandbox = Sandbox::new();
    put(&sandbox.path("secret"), "correct horse\n");
    put(&sandbox.path("wrong"), "battery staple\n");
    put(&sandbox.path("empty"), "\n");
    let init = |file| sandbox.run(&["init", "--trust-domain", "a", "--passphrase-file", file]);
    assert!(init("empty").ends_with(2).contains("does not hold a passphrase"));
    assert!(init("absent").ends_with(1).contains("cannot read absent"));
    init("secret").succeeds();
    assert!(sandbox.text("home/issuing.key").contains("ENCRYPTED"));
    assert!(sandbox.text("home/root.key").contains("ENCRYPTED"));
    let refused = sandbox.run(&["issue", "b"]).ends_with(1);
    assert_eq!(
        refused,
        "error: a passphrase is needed, and there is no terminal to ask at\nhint: say --passphrase-file FILE\n"
    );
    let issue = |file| sandbox.run(&["issue", "b", "--passphrase-file", file]);
    assert!(issue("wrong").ends_with(1).contains("the passphrase does not open the private key"));
    issue("secret").succeeds();
    // Looking needs no key.
    sandbox.run(&["list"]).succeeds();
    sandbox.run(&["audit", "--verify"]).succeeds();
}

#[test]
fn a_unit_of_systemd_gives_the_passphrase_as_a_credential() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("credentials")).unwrap();
    put(&sandbox.path("credentials/vouchsafe.ca-passphrase"), "correct horse");
    let unit = |arguments: &[&str]| {
        let mut command = sandbox.command();
        command.args(arguments).env("CREDENTIALS_DIRECTORY", sandbox.path("credentials"));
        Run(command.output().unwrap())
    };
    unit(&["init", "--trust-domain", "a"]).succeeds();
    assert!(sandbox.text("home/issuing.key").contains("ENCRYPTED"));
    unit(&["issue", "b"]).succeeds();
    // A file that is named goes before the credential.
    put(&sandbox.path("wrong"), "battery staple");
    let refused = unit(&["issue", "c", "--passphrase-file", "wrong"]).ends_with(1);
    assert!(refused.contains("the passphrase does not open the private key"));
}

#[test]
fn inspect_tells_what_can_be_told() {
    let sandbox = Sandbox::with_ca();
    let issued = sandbox.issue(&["a", "--allow", "*"]);
    let serial = text(&issued, "serial").to_owned();
    for what in ["a", "a/certificate.pem", &serial] {
        let shown = sandbox.json(&["inspect", what]);
        assert_eq!(shown["serial"], serial);
        assert_eq!(shown["permissions"], serde_json::json!(["*:*"]));
        assert_eq!((text(&shown, "status"), text(&shown, "issued_by")), ("valid", "this-ca"));
        assert_eq!(shown["revoked"], Value::Null);
    }
    sandbox.run(&["revoke", &serial, "--reason", "superseded"]).succeeds();
    let shown = sandbox.json(&["inspect", "a"]);
    assert_eq!(text(&shown, "status"), "revoked");
    assert_eq!(text(&shown["revoked"], "reason"), "superseded");
    assert!(sandbox.run(&["inspect", "a"]).succeeds().contains("REVOKED"));
    // Elsewhere: another CA, and none.
    let identity = sandbox.path("a").display().to_string();
    let other = Sandbox::with_ca();
    assert_eq!(text(&other.json(&["inspect", &identity]), "issued_by"), "another-ca");
    let nobody = Sandbox::new();
    assert_eq!(text(&nobody.json(&["inspect", &identity]), "issued_by"), "unknown");
    assert!(nobody.run(&["inspect", &identity]).succeeds().contains("no CA here to tell"));
    assert!(nobody.run(&["inspect", "absent"]).ends_with(1).contains("neither a file"));
    assert!(nobody.run(&["inspect", "0123"]).ends_with(1).contains("there is no CA in"));
}

#[test]
fn lists_of_revocations_can_be_carried_elsewhere() {
    let sandbox = Sandbox::with_ca();
    sandbox.run(&["crl", "--out", "copy.pem"]).succeeds();
    assert_eq!(sandbox.text("copy.pem"), sandbox.text("home/crl.pem"));
    assert_eq!(sandbox.text("copy.pem").matches("BEGIN X509 CRL").count(), 2);
    let published = sandbox.json(&["crl", "--out", "copy.der", "--der"]);
    assert_eq!(published["number"], 3);
    assert_eq!(fs::read(sandbox.path("copy.der")).unwrap()[0], 0x30);
    assert!(sandbox.run(&["crl", "--der"]).ends_with(2).contains("--out"));
    // The root elsewhere: said only when it matters.
    fs::remove_file(sandbox.path("home/root.key")).unwrap();
    sandbox.run(&["crl"]).succeeds();
    fs::remove_file(sandbox.path("home/crl.pem")).unwrap();
    let warned = sandbox.run(&["crl"]).stderr();
    assert!(warned.starts_with("warning: the root's revocation list is lost; put"), "{warned}");
}

#[test]
fn meddling_with_the_history_is_named() {
    let sandbox = Sandbox::with_ca();
    sandbox.run(&["issue", "a"]).succeeds();
    sandbox.run(&["revoke", "a"]).succeeds();
    let path = sandbox.path("home/journal.jsonl");
    let honest = fs::read_to_string(&path).unwrap();
    let rewrite = |text: &str| {
        fs::remove_file(&path).unwrap();
        put(&path, text);
    };
    rewrite(&honest.replace("spiffe://acme.example/a", "spiffe://acme.example/b"));
    let found = sandbox.run(&["audit", "--verify"]).ends_with(1);
    assert!(
        found
            .starts_with("error: the history is not whole: line 5 of the journal has been altered"),
        "{found}"
    );
    let verdict = sandbox.run(&["audit", "--verify", "--json"]);
    assert_eq!(verdict.0.status.code(), Some(1));
    let verdict: Value = serde_json::from_str(&verdict.stdout()).unwrap();
    assert_eq!(verdict["whole"], false);
    rewrite(&honest);
    assert_eq!(sandbox.json(&["audit", "--verify"])["records"], 7);
    let records = sandbox.run(&["audit", "--json"]).succeeds();
    assert_eq!(records, honest);
    // A crash before the last line was written is mended by whatever comes next, and said.
    let cut = honest.trim_end().rfind('\n').unwrap() + 10;
    rewrite(&honest[..cut]);
    assert!(sandbox.run(&["audit", "--verify"]).succeeds().contains("was interrupted"));
    assert!(sandbox.run(&["list"]).stderr().starts_with("note: the last command was interrupted"));
    sandbox.run(&["list"]).succeeds();
    assert_eq!(fs::read_to_string(&path).unwrap(), honest);
}

#[test]
fn one_at_a_time_and_who_that_is() {
    let sandbox = Sandbox::with_ca();
    let held = fs::File::open(sandbox.path("home/lock")).unwrap();
    held.lock().unwrap();
    let refused = sandbox.run(&["list"]).ends_with(1);
    assert!(refused.contains("is in use by another process (process "), "{refused}");
    assert!(refused.contains("vouchsafe init, since 2"), "{refused}");
    drop(held);
    // Ten at once: each has its turn.
    let running: Vec<_> = (0..10)
        .map(|nth| {
            sandbox
                .command()
                .args(["issue", &format!("d{nth}")])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    assert!(running.into_iter().all(|mut child| child.wait().unwrap().success()));
    // And the operator's.
    assert_eq!(sandbox.json(&["list"]).as_array().unwrap().len(), 11);
}

#[test]
fn wrong_usage_and_missing_homes_say_what_to_do() {
    let sandbox = Sandbox::new();
    let refused = sandbox.told(&sandbox.run(&["list"]).ends_with(1));
    assert_eq!(
        refused,
        "error: there is no CA in HOME\nhint: make one with: vouchsafe init --trust-domain NAME; or say where it is with --home\n"
    );
    assert!(!sandbox.path("home").exists());
    let nowhere = Run(sandbox.command().env_clear().arg("list").output().unwrap());
    assert!(nowhere.ends_with(2).contains("hint: say --home DIR, or set VOUCHSAFE_HOME"));
    let default = |name: &str, value: PathBuf| {
        let mut command = sandbox.command();
        command.env_clear().env(name, value).args(["init", "--trust-domain", "a"]);
        Run(command.output().unwrap()).succeeds();
    };
    default("XDG_DATA_HOME", sandbox.path("data"));
    assert!(sandbox.path("data/vouchsafe/ca.toml").exists());
    default("HOME", sandbox.path("user"));
    assert!(sandbox.path("user/.local/share/vouchsafe/ca.toml").exists());
    for (arguments, expected) in [
        (&["init"][..], "--trust-domain"),
        (&["init", "--trust-domain", "A b"], "a trust domain is"),
        (&["issue", "a", "--allow", "tools"], "kind:pattern"),
        (&["issue", "a", "--ttl", "1 day"], "a whole number with a unit"),
        (&["issue", "a", "--dns", "b"], "--server"),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let refused = sandbox.run(arguments).ends_with(2);
        assert!(refused.contains(expected), "{refused}");
    }
    sandbox.run(&["init", "--trust-domain", "acme.example"]).succeeds();
    let refused = sandbox.run(&["issue", "a b"]).ends_with(2);
    assert!(refused.starts_with("error: a b cannot be a principal"), "{refused}");
    let refused = sandbox.run(&["issue", "gw", "--server"]).ends_with(1);
    assert!(refused.contains("hint: say --dns NAME or --ip ADDRESS"), "{refused}");
}

#[test]
fn shells_are_told_every_verb() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.run(&["completions", shell]).succeeds();
        for verb in ["init", "issue", "list", "inspect", "revoke", "crl", "audit"] {
            assert!(script.contains(verb), "{shell} is not told of {verb}");
        }
    }
}
