"""Servers that run already, behind `serve --upstream`; and the bridge that speaks HTTP to its gateway."""

import os
import socket

from suite.cases import asking, everything, modern
from suite.upstream import Server, Witness, free_port, listen_like_inetd
from suite.wire import Wire
from suite.world import EVERYTHING, HERE, MODERN, PY, PYTHON, SDKS, TS1, TS2_AUTO, VOUCHSAFE, equal, holds


class Behind:
    """A world in which every gateway is this one: the cases of other themes go through it."""

    def __init__(self, world, gateway):
        self.world, self.own = world, gateway

    def gateway(self, *_, **__):
        return self.own

    def agent(self, *arguments):
        return self.world.agent(*arguments)


class OverHttp:
    """A gateway whose bridge speaks HTTP to it."""

    def __init__(self, gateway):
        self.inner = gateway

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def connect(self, identity):
        return [VOUCHSAFE, "connect", f"https://{self.inner.address}/mcp", "--identity", identity]


def before(world, name, command, env=None, allow=()):
    """A gateway before a server that speaks HTTP, with a witness in between."""
    def make(folder):
        port = free_port()
        server = Server(port, command(port), env and {**os.environ, **env(port)})
        world.running.append(server)
        witness = Witness(port, folder / "witness.jsonl")
        gateway = world.gateway(f"before-{name}", [], "--upstream", witness.url, allow=allow)
        gateway.log, gateway.witness = witness.log, witness
        witness.log.touch()
        return gateway

    return world.once(f"upstream-{name}", make)


def everything_over_http(world, allow=()):
    command = [*EVERYTHING[:-1], "streamableHttp"]
    name = "everything-asking" if allow else "everything"
    return Behind(world, before(world, name, lambda _: command, lambda port: {"PORT": str(port)}, allow))


def modern_over_http(world, allow=()):
    name = "modern-asking" if allow else "modern"
    return Behind(world, before(world, name, lambda port: [*MODERN, port], allow=allow))


def over_lines(world, family):
    name = "tcp" if family == socket.AF_INET else "unix"

    def make(folder):
        address = ("127.0.0.1", 0) if family == socket.AF_INET else str(folder / "mcp.sock")
        where = listen_like_inetd(family, address, EVERYTHING)
        url = f"tcp:127.0.0.1:{where[1]}" if family == socket.AF_INET else f"unix:{where}"
        return world.gateway(f"before-{name}", [], "--upstream", url)

    return Behind(world, world.once(f"upstream-{name}", make))


def headers(world):
    """Every request of a session says who asks, in the words of the certificate; the session is deleted at its end."""
    behind = everything_over_http(world)
    witness = behind.own.witness
    seen = len(witness.heads)
    with Wire(behind.own.connect(world.agent("upstream-named", "tools:echo"))) as wire:
        wire.initialize()
        equal("the call", wire.call("echo", message="x")["result"]["content"][0]["text"], "Echo: x")
        equal("exit code", wire.hang_up(), 0)
    heads = witness.heads[seen:]
    equal("who asks", {head["vouchsafe-principal"] for _, head in heads}, {"spiffe://acme.example/upstream-named"})
    equal("what they may do", {head["vouchsafe-permissions"] for _, head in heads}, {'["tools:echo"]'})
    equal("the last request", heads[-1][0], "DELETE")
    equal("sessions", len({head["mcp-session-id"] for _, head in heads if "mcp-session-id" in head}), 1)


def question(world, sdk):
    behind = everything_over_http(world, ["client:sampling/createMessage"])
    outcome = asking.ask(behind.own, world.agent("asked", "tools:*"), sdk, "sampling")
    holds("the answer of the client in the result", "sampled by the client" in outcome.get("ok", ""), outcome)


def modern_progress(world, sdk):
    behind = modern_over_http(world)
    mark = behind.own.mark()
    counted, cancelled, after = sdk.do(
        modern.reader(behind),
        {"do": "progress", "name": "count", "with": {"steps": 4, "pause": 0.1}},
        {"do": "cancel", "name": "count", "with": {"steps": 4, "pause": 0.5}},
        {"do": "call", "name": "echo", "with": {"message": "still here"}})
    equal("progress", counted["ok"]["seen"][:3], ["1/4", "2/4", "3/4"])
    equal("cancelled", cancelled, {"ok": "cancelled"})
    equal("the session after it", after, {"ok": "Echo: still here"})
    equal("cancellations that were sent as messages", behind.own.sent(mark, "notifications/cancelled"), [])


def modern_question(world, sdk):
    behind = modern_over_http(world, ["client:elicitation/create"])
    equal("the answer", modern.greet(behind.own, world.agent("modern-asked", "tools:greet"), sdk),
          {"ok": "Hello, elicited from the client"})


def polling(world):
    """A server that closes the stream of a call is asked again until the answer is there."""
    gateway = before(world, "polling", lambda port: [PYTHON, HERE / "servers/polling.py", port])
    with Wire(gateway.connect(world.agent("upstream-polling", "tools:work"))) as wire:
        wire.initialize()
        equal("the call", wire.call("work", pause=1)["result"]["content"][0]["text"], "worked")
    came_back = [head for verb, head in gateway.witness.heads if verb == "GET" and "last-event-id" in head]
    holds("it was asked again", came_back)


def silence(world):
    everything.silence_after_cancellation(everything_over_http(world))


def cases(world):
    of_everything = {
        "lists show exactly the permitted subset": everything.lists,
        "what is permitted works": everything.allowed,
        "what is denied never reaches the server": everything.denied,
        "progress arrives": everything.progress,
        "cancellation arrives": everything.cancellation,
        "completion follows its reference": everything.completion,
        "subscriptions follow the resource": everything.subscription,
    }
    for sdk in SDKS:
        for title, work in of_everything.items():
            yield (f"upstream over HTTP, {sdk.name}: {title}",
                   lambda sdk=sdk, work=work: work(everything_over_http(world), sdk))
        yield f"upstream over HTTP, {sdk.name}: a question is answered", lambda sdk=sdk: question(world, sdk)
    yield "upstream over HTTP, by hand: who asks stands in the headers", lambda: headers(world)
    yield "upstream over HTTP, by hand: a cancelled call is never answered", lambda: silence(world)
    yield "upstream over HTTP, by hand: a stream is taken up where it was left", lambda: polling(world)
    of_modern = {
        "lists show exactly the permitted subset": modern.lists,
        "calls, reads and prompts": modern.calls,
        "listens to what it may": modern.listen,
    }
    for sdk in (TS2_AUTO, PY):
        for title, work in of_modern.items():
            yield (f"upstream over HTTP, 2026-07-28, {sdk.name}: {title}",
                   lambda sdk=sdk, work=work: work(modern_over_http(world), sdk))
        yield (f"upstream over HTTP, 2026-07-28, {sdk.name}: progress, and cancelling by hanging up",
               lambda sdk=sdk: modern_progress(world, sdk))
        yield (f"upstream over HTTP, 2026-07-28, {sdk.name}: a question inside a result",
               lambda sdk=sdk: modern_question(world, sdk))
    for family, name in ((socket.AF_INET, "TCP"), (socket.AF_UNIX, "a Unix socket")):
        for sdk in (TS1, PY):
            for work in (everything.lists, everything.allowed, everything.progress):
                yield (f"upstream over {name}, {sdk.name}: {work.__name__}",
                       lambda family=family, sdk=sdk, work=work: work(over_lines(world, family), sdk))
    for sdk in SDKS:
        for title, work in of_everything.items():
            yield (f"connect over HTTP, {sdk.name}: {title}", lambda sdk=sdk, work=work: work(
                Behind(world, OverHttp(everything.gateway(world))), sdk))
    for sdk in (TS2_AUTO, PY):
        for title, work in of_modern.items():
            yield (f"connect over HTTP, 2026-07-28, {sdk.name}: {title}", lambda sdk=sdk, work=work: work(
                Behind(world, OverHttp(modern.gateway(world))), sdk))
