//! What README says "for a fleet" is typed as it is written.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should say so and stop"
)]

mod lines;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lines::Lines;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

const README: &str = include_str!("../../README.md");
const VOUCHSAFE: &str = env!("CARGO_BIN_EXE_vouchsafe");

/// A new user's machine, with ports that nobody else uses.
struct Machine {
    folder: TempDir,
    ports: [u16; 3],
}

/// A command that goes on, with everything it has started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // If it is gone already, there is nobody to tell.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::TERM);
        drop(self.0.wait());
    }
}

impl Machine {
    fn new() -> Self {
        let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.map(|listener| listener.local_addr().unwrap().port());
        Self { folder: tempfile::tempdir().unwrap(), ports }
    }

    fn shell(&self, text: &str) -> Command {
        use std::os::unix::process::CommandExt;
        let [operators, everybody, gateway] = self.ports.map(|port| port.to_string());
        let text = text
            .replace(
                "vouchsafe ca",
                &format!(
                    "vouchsafe ca --listen 127.0.0.1:{operators} --public 127.0.0.1:{everybody}"
                ),
            )
            .replace("vouchsafe serve", &format!("vouchsafe serve --listen 127.0.0.1:{gateway}"))
            .replace(
                "vouchsafe invite",
                &format!("vouchsafe invite --address localhost:{everybody}"),
            )
            .replace("localhost:8444", &format!("localhost:{operators}"))
            .replace("localhost:8445", &format!("localhost:{everybody}"))
            // A server that is at hand.
            .replace(
                "npx -y @modelcontextprotocol/server-filesystem /srv/docs",
                "vouchsafe demo-server",
            );
        let mut shell = Command::new("sh");
        shell.arg("-ec").arg(text).current_dir(self.folder.path()).env_clear().process_group(0);
        let beside = Path::new(VOUCHSAFE).parent().unwrap().display();
        shell.env("HOME", self.folder.path()).env("PATH", format!("{beside}:/usr/bin:/bin"));
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    }

    fn types(&self, text: &str) -> String {
        let output = self.shell(text).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts what goes on by itself, and waits until it has said this.
    fn leaves_running(&self, text: &str, until: &str) -> (Running, Lines) {
        let mut process = self.shell(text).spawn().unwrap();
        let says = Lines::follow(process.stderr.take().unwrap());
        says.wait_for(0, until);
        (Running(process), says)
    }
}

/// What is to be typed in a section.
fn blocks(section: &str) -> Vec<&'static str> {
    let begin = README.split_once(&format!("\n## {section}\n")).unwrap().1;
    let text = begin.split("\n## ").next().unwrap();
    text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_section_for_a_fleet_works_as_it_is_written() {
    let machine = Machine::new();
    machine.types("vouchsafe init --trust-domain acme.example");
    let [ca, operators, devices, gateways, revoking] = blocks("For a fleet").try_into().unwrap();
    let (_ca, _) = machine.leaves_running(ca, "for everybody");
    assert!(machine.types(operators).contains("lead-a"));
    // The variables are set in the operator's shell, and stay so.
    let exports: String = operators
        .lines()
        .filter(|line| line.starts_with("export "))
        .map(|line| format!("{line}\n"))
        .collect();
    let typed = |text: &str| format!("{exports}{text}");
    machine.types(&typed(devices));
    let (_gateway, says) = machine.leaves_running(&typed(gateways), "listening on ");
    let port = machine.ports[2];
    let tools = format!("vouchsafe tools localhost:{port} --identity team-build-7");
    assert!(machine.types(&tools).contains("search_notes"));
    let history = machine.types(&typed(revoking));
    assert!(history.contains("  lead-a  "), "{history}");
    says.wait_for(0, "revocation list number");
    let refused = machine.shell(&tools).output().unwrap();
    let refused = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.contains("its certificate is revoked"), "{refused}{:#?}", says.all());
}
