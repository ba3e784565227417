"""The Python SDK with a client certificate. Needs `pip install mcp`.

    python python_sdk.py https://localhost:8443/mcp IDENTITY-DIR TOOL [JSON]
"""

import json
import ssl
import sys
from pathlib import Path

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


def context_of(directory):
    """TLS for the owner of an identity directory, trusting nobody but the CA's own roots."""
    directory = Path(directory)
    context = ssl.create_default_context(cafile=directory / "roots.pem")
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return context


async def main(url, directory, tool, given="{}"):
    async with (
        httpx2.AsyncClient(verify=context_of(directory)) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        print(*sorted(it.name for it in (await client.list_tools()).tools))
        result = await client.call_tool(tool, json.loads(given))
        print("\n".join(it.text for it in result.content))


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
