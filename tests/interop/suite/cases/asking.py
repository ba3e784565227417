"""What a server asks of its client passes only if the server's own certificate permits it."""

from suite.world import EVERYTHING, SDKS, holds

QUESTIONS = {
    "sampling": ("sampling/createMessage", "trigger-sampling-request", {"prompt": "?"}, "sampled by the client"),
    "elicitation": ("elicitation/create", "trigger-elicitation-request", {}, "elicited from the client"),
    "roots": ("roots/list", "get-roots-list", {}, "root-of-the-client"),
}


def ask(gateway, agent, sdk, question):
    _, tool, arguments, _ = QUESTIONS[question]
    [outcome] = sdk.do(gateway.connect(agent), {"do": "call", "name": tool, "with": arguments}, answers=[question])
    return outcome


def refused(world, sdk, question):
    outcome = ask(world.gateway("everything", EVERYTHING), world.agent("asked", "tools:*"), sdk, question)
    # The server gets an error in place of an answer, and says so in its own way; what it must not get is the answer.
    holds("the client answered, though it must not be asked", QUESTIONS[question][3] not in str(outcome), outcome)


def passed(world, sdk, question):
    allow = [f"client:{method}" for method, *_ in QUESTIONS.values()]
    gateway = world.gateway("asking", EVERYTHING, allow=allow)
    outcome = ask(gateway, world.agent("asked", "tools:*"), sdk, question)
    holds("the answer of the client in the result", QUESTIONS[question][3] in outcome.get("ok", ""), outcome)


def one_of_three(world, sdk):
    """The permission is for one method, not for asking as such."""
    gateway = world.gateway("sampling-only", EVERYTHING, allow=["client:sampling/createMessage"])
    agent = world.agent("asked", "tools:*")
    sampled, elicited = ask(gateway, agent, sdk, "sampling"), ask(gateway, agent, sdk, "elicitation")
    holds("sampling passes", "sampled by the client" in sampled.get("ok", ""), sampled)
    holds("elicitation does not", "elicited from the client" not in str(elicited), elicited)


def cases_of(world, sdks):
    for sdk in sdks:
        for question in QUESTIONS:
            for title, work in {"is refused without permission": refused, "passes with permission": passed}.items():
                yield (f"asking, {sdk.name}: {question} {title}",
                       lambda sdk=sdk, question=question, work=work: work(world, sdk, question))


def cases(world):
    yield from cases_of(world, SDKS)
    yield f"asking, {SDKS[-1].name}: each method has its own permission", lambda: one_of_three(world, SDKS[-1])
