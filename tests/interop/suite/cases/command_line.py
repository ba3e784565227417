"""`vouchsafe tools` and `vouchsafe call` as clients of foreign servers, for scripts."""

from suite.cases import everything
from suite.world import VOUCHSAFE, equal, holds, run, succeed


def command(world, verb, *rest):
    agent = world.agent("reader", *everything.READER)
    return [VOUCHSAFE, verb, everything.gateway(world).address, "--identity", agent, *rest]


def tools(world):
    said = succeed(command(world, "tools"))
    for name in ("echo", everything.LONG):
        holds(f"{name} is named", name in said, said)
    holds("get-env is not", "get-env" not in said, said)


def call(world):
    holds("echo", "Echo: through" in succeed(command(world, "call", "echo", '{"message":"through"}')))


def denied(world):
    done = run(command(world, "call", "get-env"))
    equal("exit code", done.returncode, 1)
    holds("it says why", "get-env" in done.stderr, done.stderr)


def cases(world):
    yield "command line: tools", lambda: tools(world)
    yield "command line: call, permitted", lambda: call(world)
    yield "command line: call, denied", lambda: denied(world)
