"""Clients over HTTP with a client certificate of their own, no bridge in between: the SDKs through the same cases as over
stdio, our examples as they stand, and what needs no code.

Sessions over HTTP outlast their connections, and so do their servers; so these cases come after those that count servers.
"""

import json
import os

from suite.cases import asking, everything, inspector, modern
from suite.world import EXAMPLES, HTTP_SDKS, NODE, PY_HTTP, PYTHON, TS1_HTTP, TS2_AUTO_HTTP, Failed, equal, holds, run, succeed

SHOWN = ["count", "echo", "touch"]

PROGRAMS = {
    "TypeScript SDK v1": [NODE, EXAMPLES / "typescript-v1.mjs"],
    "TypeScript SDK v2": [NODE, EXAMPLES / "typescript-v2.mjs"],
    "Python SDK": [PYTHON, EXAMPLES / "python_sdk.py"],
    "fastmcp": [PYTHON, EXAMPLES / "with_fastmcp.py"],
}


def door(world):
    """The URL, and the identity directory of somebody who may use some of what is behind it."""
    _, _, address, _, identity = modern.reader(world)
    return f"https://{address}/mcp", identity


def example(world, program):
    mark = modern.gateway(world).mark()
    out = succeed([*program, *door(world), "echo", '{"message": "through"}'])
    equal("what it prints", out.splitlines(), [" ".join(SHOWN), "Echo: through"])
    denied = run([*program, *door(world), "hidden", '{"message": "x"}'])
    holds("a hidden tool is unknown", "Unknown tool: hidden" in denied.stderr + denied.stdout, denied.stderr[-400:])
    equal("calls that reached the server", len(modern.gateway(world).sent(mark, "tools/call")), 1)


def inspected(world):
    url, identity = door(world)
    home = world.once("inspector-home", lambda folder: folder)
    preload = f"--import {EXAMPLES}/any-node-program.mjs"
    env = {**os.environ, "HOME": str(home), "NO_COLOR": "1", "MCP_CATALOG_PATH": str(home / "catalog.json"),
           "VOUCHSAFE_IDENTITY": str(identity), "NODE_OPTIONS": preload}
    out = succeed([*inspector.INSPECTOR, url, "--transport", "http", "--method", "tools/list"], env)
    equal("tools", sorted(tool["name"] for tool in json.loads(out)["tools"]), SHOWN)


def curl(world, method="tools/list", certificate=True, **params):
    url, identity = door(world)
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": modern.META, **params}}
    headers = ["Content-Type: application/json", "Accept: application/json, text/event-stream",
               "MCP-Protocol-Version: 2026-07-28", f"Mcp-Method: {method}"]
    said = [word for header in headers for word in ("-H", header)]
    shown = ["--cert", identity / "certificate.pem", "--key", identity / "key.pem"] if certificate else []
    return run(["curl", "-sS", "--cacert", identity / "roots.pem", *shown, *said,
                "-d", json.dumps(body), "-w", "\n%{http_code}", url])


def answer_of(done):
    if done.returncode != 0:
        raise Failed(f"curl: {done.stderr}")
    body, status = done.stdout.rsplit("\n", 1)
    # Whatever was not answered at once comes as an event.
    line = next((line for line in body.splitlines() if line.startswith("data: {")), body)
    return int(status), json.loads(line.removeprefix("data: "))


def by_curl(world):
    status, answer = answer_of(curl(world))
    equal("status", status, 200)
    equal("tools", sorted(tool["name"] for tool in answer["result"]["tools"]), SHOWN)


def by_curl_at_odds(world):
    """The body is what counts: a header that says otherwise is refused, and opens nothing."""
    status, answer = answer_of(curl(world, "tools/call", name="hidden", arguments={}))
    holds("without Mcp-Name", status == 400 and answer["error"]["code"] == -32020, (status, answer))


def by_curl_without(world):
    done = curl(world, certificate=False)
    holds("the handshake fails", done.returncode != 0 and "alert" in done.stderr, done.stderr)


def cases(world):
    for theme, sdks in (everything, HTTP_SDKS), (modern, (TS2_AUTO_HTTP, PY_HTTP)):
        for sdk in sdks:
            for title, work in theme.TOPICS.items():
                yield f"{theme.NAME}, {sdk.name}: {title}", lambda sdk=sdk, work=work: work(world, sdk)
    yield from asking.cases_of(world, [TS1_HTTP, PY_HTTP])
    for name, program in PROGRAMS.items():
        yield f"over HTTP, example for {name}: sees and calls what it may", lambda of=program: example(world, of)
    yield "over HTTP, inspector: tools/list", lambda: inspected(world)
    yield "over HTTP, curl: tools/list", lambda: by_curl(world)
    yield "over HTTP, curl: headers that do not fit the body", lambda: by_curl_at_odds(world)
    yield "over HTTP, curl: nobody without a certificate", lambda: by_curl_without(world)
