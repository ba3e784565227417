"""fastmcp with a client certificate. Needs `pip install fastmcp`, or `fastmcp-slim` for the client alone.

    python with_fastmcp.py https://localhost:8443/mcp IDENTITY-DIR TOOL [JSON]
"""

import asyncio
import json
import ssl
import sys
from pathlib import Path

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport


def context_of(directory):
    """TLS for the owner of an identity directory, trusting nobody but the CA's own roots."""
    directory = Path(directory)
    context = ssl.create_default_context(cafile=directory / "roots.pem")
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return context


async def main(url, directory, tool, given="{}"):
    async with Client(StreamableHttpTransport(url, verify=context_of(directory))) as client:
        print(*sorted(it.name for it in await client.list_tools()))
        result = await client.call_tool(tool, json.loads(given))
        print("\n".join(it.text for it in result.content))


asyncio.run(main(*sys.argv[1:]))
