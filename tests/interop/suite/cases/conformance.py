"""The official conformance suite: the same result through our port as direct, check by check.

Most of the time each case waits, and each has servers of its own, so as many run at once as there are cores.
"""

import json
import os
import re
import subprocess
import tempfile
import threading
from collections import Counter
from pathlib import Path

from suite.world import FIXTURE, HERE, NODE, PATIENCE, TOOLS, VOUCHSAFE, Failed, equal, run, start

AT_ONCE = len(os.sched_getaffinity(0))

EVERYTHING = ("tools:*", "resources:*", "prompts:*")

# What each of them counts as passed where nothing stands between it and the fixture.
SUITES = {
    "0.1.16": (["conformance-released"], 40),
    "2025-11-25": (["conformance-next", "--requirements", "2025-11-25"], 83),
    "2026-07-28": (["conformance-next", "--requirements", "2026-07-28"], 197),
}

# The suite says it cannot test this one.
SKIPPED = "tasks-status-notifications"

# INFO is no verdict: it says how many events there were, for instance.
VERDICTS = ("SUCCESS", "FAILURE", "WARNING", "SKIPPED")


def measure(url, suite):
    """The verdict of every check, with the reason it gives. A check that comes more than once is numbered."""
    [package, *options], _ = SUITES[suite]
    with tempfile.TemporaryDirectory() as out:
        program = TOOLS / "node_modules" / package / "dist/index.js"
        env = {**os.environ, "NO_COLOR": "1"}
        done = run([NODE, program, "server", "--url", url, *options, "-o", out], env, patience=4 * PATIENCE)
        verdicts, seen = {}, Counter()
        for file in sorted(Path(out).glob("*/checks.json")):
            scenario = re.sub(r"-\d{4}-\d\d-\d\d(T.*)?$", "", file.parent.name)
            for check in json.loads(file.read_text()):
                if check["status"] in VERDICTS:
                    name = (scenario, check["id"], check["name"])
                    seen[name] += 1
                    verdicts[(*name, seen[name])] = (check["status"], check.get("errorMessage") or "")
    if not verdicts:
        raise Failed(f"the suite reports nothing:\n{done.stdout[-600:]}{done.stderr[-600:]}")
    return verdicts


class Running:
    """A program whose first line is the URL at which it serves, until the world ends."""

    def __init__(self, world, argv):
        self.process = start(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        world.running.append(self)
        self.url, listener = None, threading.Thread(target=self.listen, daemon=True)
        listener.start()
        listener.join(PATIENCE)
        if not self.url or not self.url.startswith("http://127.0.0.1:"):
            raise Failed(f"no URL from {' '.join(map(str, argv))[:300]}, but {self.url!r}")

    def listen(self):
        self.url = self.process.stdout.readline().strip()


def fixture(world, name):
    """The fixture over HTTP."""
    return world.once(f"fixture-{name}", lambda _: Running(world, [FIXTURE, "http", "127.0.0.1:0"])).url


def behind_stdio(world, name):
    return world.gateway(name, [FIXTURE, "stdio"], allow=["client:*"], witness=False)


def behind_one(world, name):
    return world.gateway(name, [FIXTURE, "stdio"], "--share", allow=["client:*"], witness=False)


def behind_http(world, name):
    return world.gateway(name, [], "--upstream", fixture(world, name), allow=["client:*"], witness=False)


def tunnel(world, gateway):
    """HTTP through mutual TLS, carried by somebody who knows neither."""
    return [NODE, HERE / "clients/tunnel.mjs", agent(world), gateway.address]


def lines(world, gateway):
    return [VOUCHSAFE, "connect", gateway.address, "--identity", agent(world), "--http", "127.0.0.1:0"]


def https(world, gateway):
    url = f"https://{gateway.address}/mcp"
    return [VOUCHSAFE, "connect", url, "--identity", agent(world), "--http", "127.0.0.1:0"]


def agent(world):
    return world.agent("conformance", *EVERYTHING)


WAYS = {"a bare tunnel to its HTTP": tunnel, "lines, behind the front": lines, "HTTP, behind the front": https}
UPSTREAMS = {"a child": behind_stdio, "one child for all": behind_one, "an HTTP server": behind_http}

# Behind the gateway's policy there are lines, whatever its client speaks: every way is shown before one kind of server, and
# every kind of server behind one way. The tunnel is for what our own client side could hide; HTTP on both sides is where the
# headers and streams of the one could meet those of the other.
THROUGH = [
    ("a bare tunnel to its HTTP", "a child"), ("lines, behind the front", "a child"), ("HTTP, behind the front", "a child"),
    ("lines, behind the front", "one child for all"), ("HTTP, behind the front", "an HTTP server")]

# What one server for all cannot do: ask the client of one session, or take a log level from it.
OF_ONE_CLIENT = {f"server-{scenario}" for scenario in (
    "logging-set-level", "tools-call-with-logging", "tools-call-sampling", "tools-call-elicitation",
    "elicitation-sep1034-defaults", "elicitation-sep1330-enums")}


def agree(check, before, after, way, upstream):
    """Whether a check came out alike, or differs in what it must."""
    scenario, name, *_ = check
    if UPSTREAMS[upstream] is behind_one and scenario in OF_ONE_CLIENT and name != "wire-schema-valid":
        return after in ("FAILURE", "absent")
    if WAYS[way] is tunnel and name == "localhost-host-valid-accepted":
        # The tunnel brings a page of plain HTTP to a site of HTTPS, which no browser would.
        return (before, after) == ("SUCCESS", "FAILURE")
    return before == after


def baseline(world, suite):
    return world.once(f"conformance-{suite}", lambda _: measure(fixture(world, f"direct-{suite}"), suite))


def without_us(world, suite):
    verdicts = baseline(world, suite)
    others = {check: got for check, got in verdicts.items() if got[0] != "SUCCESS" and SKIPPED not in check}
    equal("checks that do not pass", others, {})
    equal("checks that pass", sum(status == "SUCCESS" for status, _ in verdicts.values()), SUITES[suite][1])


def through(world, suite, way, upstream):
    gateway = UPSTREAMS[upstream](world, f"{WAYS[way].__name__}-{UPSTREAMS[upstream].__name__}-{suite}")
    front = Running(world, WAYS[way](world, gateway))
    expected, got = baseline(world, suite), measure(front.url, suite)
    differences = []
    for check in sorted(expected.keys() | got.keys()):
        before, after = (verdicts.get(check, ("absent", "")) for verdicts in (expected, got))
        if not agree(check, before[0], after[0], way, upstream):
            differences.append(f"{' '.join(map(str, check))}: {before[0]}, then {after[0]} {after[1][:300]}")
    if differences:
        raise Failed(f"{len(differences)} of {len(expected)} checks differ:\n" + "\n".join(differences))


def cases(world):
    for suite in SUITES:
        yield f"conformance {suite}: direct", lambda suite=suite: without_us(world, suite)
    for way, upstream in THROUGH:
        for suite in SUITES:
            title = f"conformance {suite}: over {way}, before {upstream}, as direct"
            yield title, lambda of=(suite, way, upstream): through(world, *of)
