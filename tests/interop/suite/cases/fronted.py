"""Clients that can show no certificate: the SDKs through the loopback front of `connect --http`, and fastmcp through front and
bridge."""

import json

from suite.cases import everything, modern
from suite.cases.conformance import Running
from suite.world import HERE, PYTHON, PY, TS1, TS2, TS2_AUTO, VOUCHSAFE, equal, holds, succeed

# What depends on what carries the messages; the rest is the policy's, and shown over HTTP and through the bridge.
ABOUT_CARRYING = ("lists", "denied", "progress", "cancel", "subscri", "listen", "stream", "call")


def front(world, command):
    """The URL of a front that leads where a bridge would."""
    *_, address, _, identity = command
    argv = [VOUCHSAFE, "connect", address, "--identity", identity, "--http", "127.0.0.1:0"]
    return world.once(f"front of {identity.name} at {address}", lambda _: Running(world, argv)).url


class Fronted:
    """A driver that is given the front's URL."""

    def __init__(self, world, sdk):
        self.world, self.sdk, self.name = world, sdk, f"{sdk.name} through the front"

    def walk(self, command, *steps, answers=()):
        return self.sdk.walk([front(self.world, command)], *steps, answers=answers)

    def do(self, command, *steps, answers=()):
        return self.walk(command, *steps, answers=answers)["outcomes"]


def by_fastmcp(world, way):
    mark = modern.gateway(world).mark()
    command = modern.reader(world)
    told = json.loads(succeed([PYTHON, HERE / "clients/fast.py", *way(world, command)]).splitlines()[-1])
    equal("tools", told["tools"], ["count", "echo", "touch"])
    equal("a call", told["echoed"], "Echo: through")
    holds("a hidden tool is unknown", "Unknown tool: hidden" in told["denied"], told)
    equal("calls that reached the server", len(modern.gateway(world).sent(mark, "tools/call")), 1)


WAYS = {"the front": lambda world, command: [front(world, command)], "the bridge": lambda _, command: command}


def cases(world):
    for theme, sdks in (everything, (TS1, TS2, PY)), (modern, (TS2_AUTO, PY)):
        for sdk in sdks:
            client = Fronted(world, sdk)
            for title, work in theme.TOPICS.items():
                if any(word in title for word in ABOUT_CARRYING):
                    yield f"{theme.NAME}, {client.name}: {title}", lambda client=client, work=work: work(world, client)
    for name, way in WAYS.items():
        yield f"fastmcp through {name}: sees and calls what it may", lambda way=way: by_fastmcp(world, way)
