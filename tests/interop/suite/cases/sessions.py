"""Several principals at one gateway, and what a session's end looks like from outside."""

import json
import time

from suite.cases import everything
from suite.wire import Wire
from suite.world import EVERYTHING, PATIENCE, PY, TS2, equal, holds, run


def names(wire):
    return sorted(tool["name"] for tool in wire.request("tools/list")["result"]["tools"])


def side_by_side(world):
    """Two sessions that are open at once, asked in turns: neither view leaks into the other."""
    gateway = everything.gateway(world)
    first, second = world.agent("first", "tools:echo"), world.agent("second", "tools:get-sum", "tools:get-env")
    with Wire(gateway.connect(first)) as one, Wire(gateway.connect(second)) as two:
        one.initialize(), two.initialize()
        for _ in range(3):
            equal("what the first sees", names(one), ["echo"])
            equal("what the second sees", names(two), ["get-env", "get-sum"])
            equal("echo by the second", two.call("echo", message="x").get("error", {}).get("message"), "Unknown tool: echo")
            holds("echo by the first", "result" in one.call("echo", message="x"))


def two_sdks(world):
    gateway = everything.gateway(world)
    first, second = world.agent("first", "tools:echo"), world.agent("second", "tools:get-sum", "tools:get-env")
    with Wire(gateway.connect(first)) as held:
        held.initialize()
        equal("by TypeScript", TS2.do(gateway.connect(second), {"do": "tools"}), [{"ok": ["get-env", "get-sum"]}])
        equal("by Python", PY.do(gateway.connect(first), {"do": "tools"}), [{"ok": ["echo"]}])
        equal("by hand", names(held), ["echo"])


def same_words(world):
    """The whole answer to a hidden name is that to an absent one, and not only its text."""
    with Wire(everything.reader(world)) as wire:
        wire.initialize()
        for method, params, named in [
            ("tools/call", lambda name: {"name": name, "arguments": {}}, ("get-env", "get-not")),
            ("prompts/get", lambda name: {"name": name}, ("args-prompt", "no-prompt")),
            ("resources/read", lambda uri: {"uri": uri}, (everything.SECRET, everything.SECRET + "x")),
        ]:
            hidden, absent = (
                json.dumps(wire.request(method, params(name)).get("error")).replace(name, "X") for name in named)
            equal(f"{method} of {named[0]} against {named[1]}", hidden, absent)


def environment(world):
    """The server sees its own small environment: nothing of the operator, and who is calling."""
    gateway = world.gateway("bare", EVERYTHING, witness=False)
    agent = world.agent("env-reader", "tools:get-env")
    with Wire(gateway.connect(agent)) as wire:
        wire.initialize()
        seen = json.loads(wire.call("get-env")["result"]["content"][0]["text"])
    own = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL")
    foreign = sorted(name for name in seen if name not in own and not name.startswith("VOUCHSAFE_"))
    equal("other variables", foreign, [])
    equal("the principal", seen.get("VOUCHSAFE_PRINCIPAL"), "spiffe://acme.example/env-reader")


def exit_codes(world):
    with Wire(everything.reader(world)) as wire:
        wire.initialize()
        equal("after the client closed stdin", wire.hang_up(), 0)
    nowhere = [*everything.reader(world)]
    nowhere[2] = "127.0.0.1:1"
    equal("when nothing listens", run(nowhere).returncode, 3)
    equal("without an address", run(nowhere[:2]).returncode, 2)


def revoked(world):
    """A revocation ends the live session and the next attempt, and touches nobody else."""
    gateway = everything.gateway(world)
    doomed, other = world.agent("doomed", "tools:echo"), world.agent("other", "tools:echo")
    with Wire(gateway.connect(doomed)) as victim, Wire(gateway.connect(other)) as bystander:
        victim.initialize(), bystander.initialize()
        holds("a call before", "result" in victim.call("echo", message="before"))
        world.home.vouchsafe("revoke", "doomed", "--reason", "keyCompromise")
        began = time.monotonic()
        victim.wait(lambda _: False, "the end of the revoked session")
        took = time.monotonic() - began
        holds("the session ends within a quarter of a second of the revocation", took < 0.25, f"{took:.3f} s")
        equal("exit code of the bridge", victim.exit_code(), 1)
        holds("the other goes on", "result" in bystander.call("echo", message="after"))
    again = run(gateway.connect(doomed))
    equal("exit code of the next attempt", again.returncode, 1)
    holds("it says why", "revoked" in again.stderr.lower(), again.stderr)


def leftovers(world):
    """Every session of this suite is over by now, so no server that was started for one may be left."""
    deadline = time.monotonic() + PATIENCE
    # The end of a process that is not our child gives no signal; all we can do is look again.
    while (left := list(world.servers())) and time.monotonic() < deadline:
        time.sleep(0.05)
    equal("servers left running", left, [])


def cases(world):
    for title, work in {
        "two principals side by side": side_by_side,
        "two SDKs side by side": two_sdks,
        "hidden and absent answer alike, to the letter": same_words,
        "the environment of the server": environment,
        "exit codes of the bridge": exit_codes,
        "revocation in mid-session": revoked,
        "no server outlives its session": leftovers,
    }.items():
        yield f"sessions: {title}", lambda work=work: work(world)
