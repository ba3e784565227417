"""An MCP server over HTTP that closes the stream of a call before the answer is there (SEP-1699), in the Python SDK's words alone."""

import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventMessage, EventStore


class Memory(EventStore):
    """Every event of every stream, in the order in which they came."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        last = int(last_event_id)
        stream, _ = self.events[last - 1]
        for count, (own, message) in enumerate(self.events[last:], last + 1):
            if own == stream and message is not None:
                await send_callback(EventMessage(message, str(count)))
        return stream


server = MCPServer("polling", log_level="ERROR")


@server.tool()
async def work(pause: float, ctx: Context) -> str:
    """Let the client come back for the answer."""
    await ctx.close_sse_stream()
    await anyio.sleep(pause)
    return "worked"


server.run("streamable-http", port=int(sys.argv[1]), event_store=Memory(), retry_interval=100)
