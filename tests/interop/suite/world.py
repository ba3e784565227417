"""What the cases stand on: homes with a CA, gateways in front of foreign servers, and foreign clients."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

HERE = Path(__file__).parent.parent
TOOLS = Path(os.environ["INTEROP_TOOLS"])
VOUCHSAFE = os.environ["VOUCHSAFE"]
FIXTURE = os.environ["FIXTURE"]
EXAMPLES = TOOLS / "examples"
NODE = TOOLS / "node_modules/.bin/node"
PYTHON = TOOLS / "venv/bin/python"
EVERYTHING = [NODE, TOOLS / "node_modules/.bin/mcp-server-everything", "stdio"]
FILESYSTEM = [NODE, TOOLS / "node_modules/.bin/mcp-server-filesystem"]
MODERN = [PYTHON, HERE / "servers/modern.py"]

# Nothing here takes seconds when it works; this only keeps a hang from being endless.
PATIENCE = float(os.environ.get("INTEROP_PATIENCE", 30))


class Failed(Exception):
    """The product, or a peer of it, did not do what the case expects."""


def equal(what, got, expected):
    if got != expected:
        raise Failed(f"{what}: expected {expected!r}, got {got!r}")


def holds(what, condition, got=""):
    if not condition:
        raise Failed(f"{what}, got {got!r}" if got != "" else what)


def start(argv, **options):
    """A child in a process group of its own, so that it can be ended with all that it started."""
    return subprocess.Popen([str(word) for word in argv], text=True, start_new_session=True, **options)


def end(process, politely=0):
    """End a child and whatever is left of its group; a gateway is asked first, so that it can end its own children."""
    if politely and process.poll() is None:
        process.terminate()
        try:
            process.wait(politely)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def run(argv, env=None, patience=PATIENCE):
    """Run to the end; a hang is a failure of the case, not of the suite."""
    process = start(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired as timeout:
        said = (timeout.stderr or b"").decode(errors="replace")[-400:]
        raise Failed(f"no end after {patience:g} s: {' '.join(map(str, argv))[:300]}\n{said}") from None
    finally:
        end(process)
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def succeed(argv, env=None):
    done = run(argv, env)
    if done.returncode != 0:
        raise Failed(f"exit code {done.returncode}: {' '.join(map(str, argv))[:300]}\n{(done.stderr or done.stdout)[-600:]}")
    return done.stdout


class Home:
    """A CA of its own and the identities it issued."""

    def __init__(self, folder):
        self.folder = folder
        self.crl = folder / "home/crl.pem"
        self.turns = threading.Lock()
        self.vouchsafe("init", "--trust-domain", "acme.example")

    def command(self, *arguments):
        return [VOUCHSAFE, "--home", self.folder / "home", *arguments]

    def vouchsafe(self, *arguments):
        with self.turns:
            return succeed(self.command(*arguments))

    def issue(self, name, *allowed, server=False):
        """The identity directory of `name`."""
        out = self.folder / name
        names = ["--server", "--dns", "localhost", "--ip", "127.0.0.1"] if server else []
        allow = [word for permission in allowed for word in ("--allow", permission)]
        self.vouchsafe("issue", name, *names, *allow, "--out", out)
        return out


class Gateway:
    """`vouchsafe serve` in front of a server, with a witness in between that writes down all the server is sent."""

    # tee writes a line down before the server can have read it, so the witness is never behind an answer.
    WITNESS = ["sh", "-c", 'log=$1; shift; tee -a "$log" | "$@"', "witness"]

    def __init__(self, home, identity, folder, command, *options, witness=True):
        self.log = folder / "witness.jsonl"
        self.log.touch()
        self.audit = folder / "audit.jsonl"
        self.said, self.spoken = [], folder / "serve.log"
        served = [*self.WITNESS, self.log, *command] if witness else command
        # The home directory marks whatever is started here. The secret is the operator's: no server may ever see it.
        env = {**os.environ, "HOME": str(home.folder.parent), "INTEROP_SECRET": "of the operator"}
        serve = ["serve", "--identity", identity, "--listen", "127.0.0.1:0", "--crl", home.crl, "--audit", self.audit]
        behind = ["--", *served] if command else []
        self.process = start(home.command(*serve, *options, *behind),
                             env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.address, self.ready = None, threading.Event()
        threading.Thread(target=self.listen, daemon=True).start()
        if not self.ready.wait(PATIENCE) or self.address is None:
            end(self.process)
            raise Failed("serve did not start:\n" + "".join(self.said[-12:]))

    def listen(self):
        """Read what the gateway says to its end: a pipe nobody reads would stop it."""
        with self.spoken.open("w", buffering=1) as log:
            for line in self.process.stderr:
                self.said.append(line)
                log.write(line)
                if self.address is None and (found := re.search(r"listening on (127\.0\.0\.1:\d+)", line)):
                    self.address = found[1]
                    self.ready.set()
        self.ready.set()

    def mark(self):
        return self.log.stat().st_size

    def sent(self, mark, method):
        """The messages of `method` that the server was sent since `mark`."""
        with self.log.open() as log:
            log.seek(mark)
            messages = [json.loads(line) for line in log if line.endswith("\n")]
        return [message for message in messages if message.get("method") == method]

    def connect(self, identity):
        """The command that is an MCP server for any client."""
        return [VOUCHSAFE, "connect", self.address, "--identity", identity]


class Client:
    """A driver around a foreign SDK: it walks a plan and reports what came back, see clients/steps.mjs."""

    def __init__(self, name, *argv):
        self.name, self.argv = name, argv

    def walk(self, command, *steps, answers=()):
        plan = json.dumps({"answers": list(answers), "steps": list(steps)})
        out = succeed([*self.argv, plan, *command])
        return json.loads(out.splitlines()[-1])

    def do(self, command, *steps, answers=()):
        return self.walk(command, *steps, answers=answers)["outcomes"]


class HttpClient(Client):
    """The same driver, which reaches the gateway over HTTP by itself instead of starting `connect`."""

    def walk(self, command, *steps, answers=()):
        _, _, address, _, identity = command
        return super().walk([f"https://{address}/mcp", identity], *steps, answers=answers)


TS1 = Client("TypeScript SDK v1", NODE, HERE / "clients/ts1.mjs", "default")
TS2 = Client("TypeScript SDK v2", NODE, HERE / "clients/ts2.mjs", "default")
TS2_AUTO = Client("TypeScript SDK v2 (auto)", NODE, HERE / "clients/ts2.mjs", "auto")
PY = Client("Python SDK", PYTHON, HERE / "clients/sdk.py", "auto")
SDKS = [TS1, TS2, TS2_AUTO, PY]
HTTP_SDKS = [HttpClient(f"{sdk.name} over HTTP", *sdk.argv) for sdk in SDKS]
TS1_HTTP, _, TS2_AUTO_HTTP, PY_HTTP = HTTP_SDKS


class World:
    """The temporary folder of one run, and everything in it that has to be ended with it."""

    def __init__(self, folder, keep):
        self.folder, self.keep, self.running = folder, keep, []
        self.made, self.making, self.lock = {}, {}, threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for gateway in self.running:
            end(gateway.process, politely=5)
        if self.keep:
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def once(self, name, make):
        """What `make` makes in a folder called `name`, made when first asked for and shared after that."""
        with self.lock:
            mine = self.making.setdefault(name, threading.Lock())
        with mine:  # whoever else wants it waits for whoever makes it
            if name not in self.made:
                folder = self.folder / name
                folder.mkdir(parents=True, exist_ok=True)
                self.made[name] = make(folder)
        return self.made[name]

    def servers(self):
        """The processes that gateways of this world started, told by the home directory they were given."""
        mark = f"HOME={self.folder}\0".encode()
        gateways = {str(gateway.process.pid) for gateway in self.running}
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in environ.read_bytes() and environ.parent.name not in gateways:
                    yield (environ.parent / "cmdline").read_text().replace("\0", " ").strip()
            except OSError:
                pass  # it ended meanwhile, or is not ours to look at

    @property
    def home(self):
        return self.once("acme", Home)

    def agent(self, name, *allowed):
        return self.once(f"agent {name}", lambda _: self.home.issue(name, *allowed))

    def gateway(self, name, command, *options, allow=(), witness=True):
        def make(folder):
            identity = self.home.issue(name, *allow, server=True)
            gateway = Gateway(self.home, identity, folder, command, *options, witness=witness)
            self.running.append(gateway)
            return gateway

        return self.once(f"gateway-{name}", make)
