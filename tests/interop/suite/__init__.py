"""The product against MCP peers and verifiers that nobody here wrote."""
