"""The official Inspector, from its command line: one process for each question."""

import json
import os

from suite.cases import everything, modern
from suite.world import NODE, TOOLS, Failed, equal, holds, run

INSPECTOR = [NODE, TOOLS / "node_modules/.bin/mcp-inspector", "--cli"]


def inspect(world, command, *options):
    # The Inspector keeps a catalogue in the home directory; here that is a temporary one.
    home = world.once("inspector-home", lambda folder: folder)
    env = {**os.environ, "HOME": str(home), "NO_COLOR": "1", "MCP_CATALOG_PATH": str(home / "catalog.json")}
    return run([*INSPECTOR, *command, *options], env)


def result(world, *options, command=None):
    done = inspect(world, command or everything.reader(world), *options)
    if done.returncode != 0:
        raise Failed(f"exit code {done.returncode}: {done.stderr[-400:]}")
    return json.loads(done.stdout)


def names(world, method, key, name="name", **options):
    return sorted(item[name] for item in result(world, "--method", method, **options)[key])


def tools(world):
    equal("tools", names(world, "tools/list", "tools"), ["echo", "toggle-subscriber-updates", everything.LONG])


def call(world):
    said = result(world, "--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=through")
    equal("echo", said, {"content": [{"type": "text", "text": "Echo: through"}]})


def refused(world, named, *options):
    """What the Inspector says on stderr, with the name in question taken out."""
    done = inspect(world, everything.reader(world), *options)
    holds(f"{named} is refused", done.returncode != 0, done.stdout)
    # The last line is its verdict; whatever comes before that is the stderr of the server.
    return done.returncode, done.stderr.strip().splitlines()[-1].replace(named, "X")


def denied(world):
    call = ("--method", "tools/call", "--tool-name")
    hidden, absent = refused(world, "get-env", *call, "get-env"), refused(world, "get-no", *call, "get-no")
    equal("a hidden tool against an absent one", hidden, absent)


def denied_read(world):
    read, other = ("--method", "resources/read", "--uri"), everything.SECRET.replace("startup", "nothing")
    hidden = refused(world, everything.SECRET, *read, everything.SECRET)
    equal("a hidden resource against an absent one", hidden, refused(world, other, *read, other))


def resources(world):
    equal("resources", names(world, "resources/list", "resources", "uri"), [everything.FEATURES])
    templates = names(world, "resources/templates/list", "resourceTemplates", "uriTemplate")
    equal("templates", templates, [everything.TEXT])


def prompts(world):
    equal("prompts", names(world, "prompts/list", "prompts"), ["completable-prompt", "simple-prompt"])


def stateless(world):
    command = [*modern.reader(world), "--protocol-era", "modern"]
    equal("tools", names(world, "tools/list", "tools", command=command), ["count", "echo", "touch"])


def cases(world):
    for title, work in {
        "tools/list": tools,
        "tools/call, permitted": call,
        "tools/call, denied": denied,
        "resources/list and templates": resources,
        "resources/read, denied": denied_read,
        "prompts/list": prompts,
        "tools/list in the stateless era": stateless,
    }.items():
        yield f"inspector: {title}", lambda work=work: work(world)
