//! The commands one after the other, with every word they print.

use crate::sandbox::Sandbox;

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
