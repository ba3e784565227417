"""fastmcp: `fast.py http://..` at a front, `fast.py COMMAND ARGS..` through a bridge; the tools it sees, one that it may call and
one that it may not, as JSON."""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport


async def main(command, *args):
    is_url = command.startswith("http:")
    transport = StreamableHttpTransport(command) if is_url else StdioTransport(command, list(args), keep_alive=False)
    async with Client(transport) as client:
        tools = sorted(it.name for it in await client.list_tools())
        echoed = (await client.call_tool("echo", {"message": "through"})).content[0].text
        try:
            denied = (await client.call_tool("hidden", {"message": "x"})).content[0].text
        except Exception as error:  # whatever it calls it
            denied = str(error)
        print(json.dumps({"tools": tools, "echoed": echoed, "denied": denied}))


asyncio.run(main(*sys.argv[1:]))
