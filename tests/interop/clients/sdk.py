"""Python SDK: `sdk.py auto|legacy PLAN COMMAND [ARGS..]` over stdio, `.. PLAN https://.. DIR` over HTTP with a client
certificate, `.. PLAN http://..` without; `auto` is what the SDK does by itself.

The plan and the report are those of steps.mjs, word for word.
"""

import json
import sys
from contextlib import AsyncExitStack
from os import environ

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

sys.path.append(f"{environ['INTEROP_TOOLS']}/examples")
from python_sdk import context_of  # noqa: E402


def text(result):
    return "\n".join(getattr(part, "text", None) or f"<{part.type}>" for part in result.content)


def called(result):
    return {"tool_error": text(result)} if result.is_error else {"ok": text(result)}


async def sampling(_context, _params):
    content = types.TextContent(type="text", text="sampled by the client")
    return types.CreateMessageResult(model="interop", role="assistant", content=content)


async def elicitation(_context, _params):
    return types.ElicitResult(action="accept", content={"name": "elicited from the client"})


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///root-of-the-client", name="root")])


ANSWERS = {
    "sampling": {"sampling_callback": sampling},
    "elicitation": {"elicitation_callback": elicitation},
    "roots": {"list_roots_callback": roots},
}


class Updates:
    """Remembers `notifications/resources/updated`, so that a step can wait for one without racing it."""

    def __init__(self):
        self.arrived = {}

    def event(self, uri):
        return self.arrived.setdefault(str(uri), anyio.Event())

    async def on_message(self, message):
        if isinstance(message, types.ResourceUpdatedNotification):
            self.event(message.params.uri).set()


async def cancel(client, step):
    """Abandon a call at its first progress report, which proves that it was running."""
    with anyio.CancelScope() as scope:
        async def on_progress(*_):
            scope.cancel()

        await client.call_tool(step["name"], step["with"], progress_callback=on_progress)
    return {"ok": "cancelled" if scope.cancelled_caught else "answered"}


async def progress(client, step):
    seen = []

    async def on_progress(done, total, _message):
        seen.append(f"{done:g}/{total:g}")

    result = await client.call_tool(step["name"], step["with"], progress_callback=on_progress)
    return {"ok": {"seen": seen, "text": text(result)}}


async def listen(client, step):
    """2026-07-28: one stream of the wanted changes; the server says which it grants, a tool makes a change."""
    async with client.listen(resource_subscriptions=step["uris"]) as stream:
        await client.call_tool(step["name"], step["with"])
        async for event in stream:
            return {"ok": {"granted": stream.honored.resource_subscriptions, "event": str(event.uri)}}


async def perform(client, step, updates):
    name, arguments = step.get("name"), step.get("with", {})
    match step["do"]:
        case "tools":
            return {"ok": sorted(it.name for it in (await client.list_tools()).tools)}
        case "call":
            return called(await client.call_tool(name, arguments))
        case "measure":  # only the length travels on, not the megabytes
            whole = text(await client.call_tool(name, arguments))
            return {"ok": {"length": len(whole), "end": whole[-16:]}}
        case "progress":
            return await progress(client, step)
        case "cancel":
            return await cancel(client, step)
        case "listen":
            return await listen(client, step)
        case "resources":
            return {"ok": sorted(str(it.uri) for it in (await client.list_resources()).resources)}
        case "templates":
            listed = await client.list_resource_templates()
            return {"ok": sorted(it.uri_template for it in listed.resource_templates)}
        case "read":
            contents = (await client.read_resource(step["uri"])).contents
            return {"ok": "\n".join(getattr(it, "text", None) or it.blob for it in contents)}
        case "prompts":
            return {"ok": sorted(it.name for it in (await client.list_prompts()).prompts)}
        case "prompt":
            messages = (await client.get_prompt(name, arguments)).messages
            return {"ok": "\n".join(getattr(it.content, "text", None) or f"<{it.content.type}>" for it in messages)}
        case "complete":
            ref = types.PromptReference if step["ref"]["type"] == "ref/prompt" else types.ResourceTemplateReference
            return {"ok": (await client.complete(ref(**step["ref"]), step["argument"])).completion.values}
        case "subscribe":
            await client.subscribe_resource(step["uri"])
            return {"ok": "subscribed"}
        case "updated":
            await updates.event(step["uri"]).wait()
            return {"ok": step["uri"]}


async def main(mode, plan, command, *args):
    plan, updates, offered = json.loads(plan), Updates(), {}
    for name in plan.get("answers", []):
        offered |= ANSWERS[name]
    async with AsyncExitStack() as stack:
        if command.startswith("https:"):
            http = await stack.enter_async_context(httpx2.AsyncClient(verify=context_of(*args)))
            server = streamable_http_client(command, http_client=http)
        elif command.startswith("http:"):
            server = command
        else:
            server = StdioServerParameters(command=command, args=list(args))
        client = Client(server, mode=mode, message_handler=updates.on_message, **offered)
        await stack.enter_async_context(client)
        outcomes = []
        for step in plan["steps"]:
            try:
                outcomes.append(await perform(client, step, updates))
            except MCPError as error:
                outcomes.append({"code": error.error.code, "message": error.error.message})
        print(json.dumps({"version": client.protocol_version, "outcomes": outcomes}))


anyio.run(main, *sys.argv[1:])
