"""server-everything through every SDK: each sees and reaches exactly what its certificate says."""

from suite.wire import Wire
from suite.world import EVERYTHING, SDKS, equal, holds

FEATURES = "demo://resource/static/document/features.md"
SECRET = "demo://resource/static/document/startup.md"
TEXT = "demo://resource/dynamic/text/{resourceId}"
BLOB = "demo://resource/dynamic/blob/{resourceId}"
LONG = "trigger-long-running-operation"

READER = (
    "tools:echo", f"tools:{LONG}", "tools:toggle-subscriber-updates",
    f"resources:{FEATURES}", "resources:demo://resource/dynamic/text/*",
    "prompts:simple-prompt", "prompts:completable-prompt",
)


def gateway(world):
    return world.gateway("everything", EVERYTHING)


def reader(world):
    return gateway(world).connect(world.agent("reader", *READER))


def lists(world, sdk):
    tools, resources, templates, prompts = sdk.do(
        reader(world), {"do": "tools"}, {"do": "resources"}, {"do": "templates"}, {"do": "prompts"})
    equal("tools", tools, {"ok": ["echo", "toggle-subscriber-updates", LONG]})
    equal("resources", resources, {"ok": [FEATURES]})
    equal("templates", templates, {"ok": [TEXT]})
    equal("prompts", prompts, {"ok": ["completable-prompt", "simple-prompt"]})


def allowed(world, sdk):
    echo, static, dynamic, prompt = sdk.do(
        reader(world),
        {"do": "call", "name": "echo", "with": {"message": "through"}},
        {"do": "read", "uri": FEATURES},
        {"do": "read", "uri": TEXT.replace("{resourceId}", "7")},
        {"do": "prompt", "name": "completable-prompt", "with": {"department": "Sales", "name": "Eve"}})
    equal("echo", echo, {"ok": "Echo: through"})
    holds("a static resource", static.get("ok", "").startswith("# "), static)
    holds("a resource of a template", "Resource 7" in dynamic.get("ok", ""), dynamic)
    equal("prompt", prompt, {"ok": "Please promote Eve to the head of the Sales team."})


def denied(world, sdk):
    """What exists and what does not are refused in the same words, and the server hears of neither."""
    mark = gateway(world).mark()
    outcomes = sdk.do(
        reader(world),
        {"do": "call", "name": "get-env"}, {"do": "call", "name": "get-nothing"},
        {"do": "read", "uri": SECRET}, {"do": "read", "uri": SECRET + "x"},
        {"do": "read", "uri": BLOB.replace("{resourceId}", "1")}, {"do": "read", "uri": "demo://nothing"},
        {"do": "prompt", "name": "args-prompt", "with": {"city": "Rome"}}, {"do": "prompt", "name": "no-prompt"})
    equal("a hidden tool", outcomes[0], {"code": -32602, "message": "Unknown tool: get-env"})
    equal("an absent tool", outcomes[1], {"code": -32602, "message": "Unknown tool: get-nothing"})
    for (hidden, named), (absent, unnamed) in [
        ((outcomes[2], SECRET), (outcomes[3], SECRET + "x")),
        ((outcomes[4], BLOB.replace("{resourceId}", "1")), (outcomes[5], "demo://nothing")),
        ((outcomes[6], "args-prompt"), (outcomes[7], "no-prompt")),
    ]:
        equal(f"code for {named}", hidden.get("code"), -32602)
        equal(f"{named} against {unnamed}", {**hidden, "message": hidden["message"].replace(named, "X")},
              {**absent, "message": absent["message"].replace(unnamed, "X")})
    for method in ("tools/call", "resources/read", "prompts/get"):
        equal(f"{method} that reached the server", gateway(world).sent(mark, method), [])


def progress(world, sdk):
    [outcome] = sdk.do(reader(world), {"do": "progress", "name": LONG, "with": {"duration": 0.5, "steps": 5}})
    # The last report and the result arrive together, and some SDKs then give the result only.
    equal("progress", outcome["ok"]["seen"][:4], ["1/5", "2/5", "3/5", "4/5"])
    holds("its result", "completed" in outcome["ok"]["text"], outcome)


def cancellation(world, sdk):
    mark = gateway(world).mark()
    cancelled, after = sdk.do(
        reader(world),
        {"do": "cancel", "name": LONG, "with": {"duration": 2, "steps": 4}},
        {"do": "call", "name": "echo", "with": {"message": "still here"}})
    equal("the call", cancelled, {"ok": "cancelled"})
    equal("the session after it", after, {"ok": "Echo: still here"})
    called = gateway(world).sent(mark, "tools/call")[0]["id"]
    told = [message["params"]["requestId"] for message in gateway(world).sent(mark, "notifications/cancelled")]
    equal("cancellations that reached the server", told, [called])


def silence_after_cancellation(world):
    """A cancelled call is never answered: a second one of the same length ends, the first has not."""
    with Wire(reader(world)) as wire:
        wire.initialize()
        arguments = {"duration": 1, "steps": 4}
        first = wire.ask("tools/call", {"name": LONG, "arguments": arguments, "_meta": {"progressToken": "t"}})
        wire.wait(lambda it: it.get("method") == "notifications/progress", "the first progress report")
        wire.send("notifications/cancelled", {"requestId": first, "reason": "no longer wanted"})
        second = wire.call(LONG, **arguments)
        holds("the second call", "result" in second, second)
        equal("answers to the first", [it for it in wire.arrived if it.get("id") == first], [])


def completion(world, sdk):
    def of(ref, name, value):
        return {"do": "complete", "ref": ref, "argument": {"name": name, "value": value}}

    mark = gateway(world).mark()
    prompt, template, hidden_prompt, hidden_template = sdk.do(
        reader(world),
        of({"type": "ref/prompt", "name": "completable-prompt"}, "department", "S"),
        of({"type": "ref/resource", "uri": TEXT}, "resourceId", "7"),
        of({"type": "ref/prompt", "name": "resource-prompt"}, "resourceType", "T"),
        of({"type": "ref/resource", "uri": BLOB}, "resourceId", "7"))
    equal("of a prompt", prompt, {"ok": ["Sales", "Support"]})
    equal("of a template", template, {"ok": ["7"]})
    holds("of a hidden prompt is refused", "code" in hidden_prompt, hidden_prompt)
    holds("of a hidden template is refused", "code" in hidden_template, hidden_template)
    equal("completions that reached the server", len(gateway(world).sent(mark, "completion/complete")), 2)


def subscription(world, sdk):
    mark = gateway(world).mark()
    granted, refused, _, updated = sdk.do(
        reader(world),
        {"do": "subscribe", "uri": FEATURES}, {"do": "subscribe", "uri": SECRET},
        {"do": "call", "name": "toggle-subscriber-updates"}, {"do": "updated", "uri": FEATURES})
    equal("a permitted resource", granted, {"ok": "subscribed"})
    holds("a hidden resource is refused", "code" in refused, refused)
    equal("the update", updated, {"ok": FEATURES})
    uris = [message["params"]["uri"] for message in gateway(world).sent(mark, "resources/subscribe")]
    equal("subscriptions that reached the server", uris, [FEATURES])


def nothing(world, sdk):
    """A certificate without permissions is let in and finds an empty house."""
    nobody = gateway(world).connect(world.agent("nobody"))
    outcomes = sdk.do(nobody, {"do": "tools"}, {"do": "resources"}, {"do": "templates"}, {"do": "prompts"})
    equal("the lists", outcomes, [{"ok": []}] * 4)


NAME = "everything"

TOPICS = {
    "lists show exactly the permitted subset": lists,
    "what is permitted works": allowed,
    "what is denied is as if it were not there": denied,
    "progress arrives": progress,
    "cancellation arrives": cancellation,
    "completion follows its reference": completion,
    "subscriptions follow the resource": subscription,
    "no permissions, nothing listed": nothing,
}


def cases(world):
    for sdk in SDKS:
        for title, work in TOPICS.items():
            yield f"{NAME}, {sdk.name}: {title}", lambda sdk=sdk, work=work: work(world, sdk)
    yield "everything, by hand: a cancelled call is never answered", lambda: silence_after_cancellation(world)
