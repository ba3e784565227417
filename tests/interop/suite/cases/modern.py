"""The stateless era, 2026-07-28: a server and clients that speak it, with the gateway and the bridge in between."""

from suite.wire import Wire
from suite.world import MODERN, PY, TS2_AUTO, equal, holds

OPEN, SECRET = "notes://open/first", "notes://secret/first"
READER = ("tools:echo", "tools:count", "tools:touch", "resources:notes://open/*", "prompts:simple")
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


def gateway(world):
    return world.gateway("modern", MODERN)


def reader(world):
    return gateway(world).connect(world.agent("modern-reader", *READER))


def lists(world, sdk):
    report = sdk.walk(reader(world), {"do": "tools"}, {"do": "resources"}, {"do": "templates"}, {"do": "prompts"})
    equal("the era", report["version"], "2026-07-28")
    equal("the lists", report["outcomes"], [
        {"ok": ["count", "echo", "touch"]}, {"ok": [OPEN]}, {"ok": ["notes://open/{name}"]}, {"ok": ["simple"]}])


def calls(world, sdk):
    mark = gateway(world).mark()
    outcomes = sdk.do(
        reader(world),
        {"do": "call", "name": "echo", "with": {"message": "through"}},
        {"do": "read", "uri": "notes://open/any"},
        {"do": "prompt", "name": "simple", "with": {"topic": "Rome"}},
        {"do": "call", "name": "hidden", "with": {"message": "x"}}, {"do": "call", "name": "absent"},
        {"do": "read", "uri": SECRET}, {"do": "prompt", "name": "private"})
    equal("permitted", outcomes[:3], [{"ok": "Echo: through"}, {"ok": "open any"}, {"ok": "Speak about Rome."}])
    equal("denied calls", outcomes[3:5], [
        {"code": -32602, "message": "Unknown tool: hidden"}, {"code": -32602, "message": "Unknown tool: absent"}])
    equal("denied reads and prompts", [it.get("code") for it in outcomes[5:]], [-32602, -32602])
    equal("calls that reached the server", len(gateway(world).sent(mark, "tools/call")), 1)
    equal("reads that reached the server", len(gateway(world).sent(mark, "resources/read")), 1)


def progress(world, sdk):
    mark = gateway(world).mark()
    counted, cancelled, after = sdk.do(
        reader(world),
        {"do": "progress", "name": "count", "with": {"steps": 4, "pause": 0.1}},
        {"do": "cancel", "name": "count", "with": {"steps": 4, "pause": 0.5}},
        {"do": "call", "name": "echo", "with": {"message": "still here"}})
    equal("progress", counted["ok"]["seen"][:3], ["1/4", "2/4", "3/4"])
    equal("cancelled", cancelled, {"ok": "cancelled"})
    equal("the session after it", after, {"ok": "Echo: still here"})
    called = gateway(world).sent(mark, "tools/call")[1]["id"]
    told = [message["params"]["requestId"] for message in gateway(world).sent(mark, "notifications/cancelled")]
    equal("cancellations that reached the server", told, [called])


def listen(world, sdk):
    mark = gateway(world).mark()
    [outcome] = sdk.do(
        reader(world), {"do": "listen", "uris": [OPEN, SECRET], "name": "touch", "with": {"uri": OPEN}})
    equal("what the stream grants and tells", outcome, {"ok": {"granted": [OPEN], "event": OPEN}})
    [asked] = gateway(world).sent(mark, "subscriptions/listen")
    equal("what the server was asked for", asked["params"]["notifications"].get("resourceSubscriptions"), [OPEN])


def greet(gateway, agent, sdk):
    [outcome] = sdk.do(gateway.connect(agent), {"do": "call", "name": "greet"}, answers=["elicitation"])
    return outcome


def asking(world, sdk):
    """In this era a question to the client is part of a result; the same permission governs it."""
    permitted = world.gateway("modern-asking", MODERN, allow=["client:elicitation/create"])
    agent = world.agent("modern-asked", "tools:greet")
    equal("with permission", greet(permitted, agent, sdk), {"ok": "Hello, elicited from the client"})
    outcome = greet(gateway(world), agent, sdk)
    holds("without it the client is not asked", "elicited from the client" not in str(outcome), outcome)


def private(world):
    """A filtered list belongs to one principal; a cache must not hand it to another."""
    with Wire(reader(world)) as wire:
        for method in ("tools/list", "resources/list", "resources/templates/list", "prompts/list"):
            listed = wire.request(method, {"_meta": META})
            equal(f"cacheScope of {method}", listed.get("result", listed).get("cacheScope"), "private")


NAME = "2026-07-28"

TOPICS = {
    "lists show exactly the permitted subset": lists,
    "calls, reads and prompts": calls,
    "progress and cancellation": progress,
    "listens to what it may": listen,
    "a question inside a result needs permission": asking,
}


def cases(world):
    for sdk in (TS2_AUTO, PY):
        for title, work in TOPICS.items():
            yield f"{NAME}, {sdk.name}: {title}", lambda sdk=sdk, work=work: work(world, sdk)
    yield "2026-07-28, by hand: filtered lists are private", lambda: private(world)
