"""An MCP server of the 2026-07-28 era over stdio, or over HTTP at the port that it is given, in the Python SDK's words alone.

The official example servers still speak only the older eras. This one exists so that the stateless era (`server/discover`,
`subscriptions/listen`, questions inside results) is met too, by an implementation that is not ours.
"""

import sys
from typing import Annotated

import anyio
from mcp.server.caching import CACHEABLE_METHODS, CacheHint
from mcp.server.mcpserver import Context, Elicit, ElicitationResult, MCPServer, Resolve
from mcp_types import Completion
from pydantic import BaseModel

# The server calls its lists public; whoever filters them has to see that they no longer are.
PUBLIC = {method: CacheHint(scope="public") for method in CACHEABLE_METHODS}
server = MCPServer("modern", log_level="ERROR", cache_hints=PUBLIC)


class Name(BaseModel):
    """What the person at the client is asked for."""

    name: str


async def ask() -> Elicit[Name]:
    """Ask the person at the client; in this era the question travels inside the result of the call."""
    return Elicit("What is your name?", Name)


@server.tool()
def echo(message: str) -> str:
    """Say it back."""
    return f"Echo: {message}"


@server.tool()
def hidden(message: str) -> str:
    """Exist, so that a denied call of something that exists can be told from one of something that does not."""
    return message


@server.tool()
async def count(steps: int, pause: float, ctx: Context) -> str:
    """Count with progress."""
    for step in range(1, steps + 1):
        await anyio.sleep(pause)
        await ctx.report_progress(step, steps)
    return f"counted to {steps}"


@server.tool()
def greet(answer: Annotated[ElicitationResult[Name], Resolve(ask)]) -> str:
    """Greet whoever answered."""
    return f"Hello, {answer.data.name}" if answer.action == "accept" else f"No name: {answer.action}"


@server.tool()
async def touch(uri: str, ctx: Context) -> str:
    """Tell the subscribers of a resource that it changed."""
    await ctx.notify_resource_updated(uri)
    return "touched"


@server.resource("notes://open/{name}")
def open_note(name: str) -> str:
    """A note for all."""
    return f"open {name}"


@server.resource("notes://secret/{name}")
def secret_note(name: str) -> str:
    """A note for few."""
    return f"secret {name}"


@server.resource("notes://open/first")
def first() -> str:
    """A listed note for all."""
    return "open first"


@server.resource("notes://secret/first")
def secret_first() -> str:
    """A listed note for few."""
    return "secret first"


@server.prompt()
def simple(topic: str = "nothing") -> str:
    """A prompt for all."""
    return f"Speak about {topic}."


@server.prompt()
def private(topic: str = "nothing") -> str:
    """A prompt for few."""
    return f"Whisper about {topic}."


@server.completion()
async def complete(_ref, argument, _context):
    """Complete anything in two ways."""
    return Completion(values=[argument.value + "-one", argument.value + "-two"])


if len(sys.argv) > 1:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run("stdio")
