// The TypeScript SDK v2 with a client certificate. Needs `npm install @modelcontextprotocol/client undici` and Node 22.19.
//   node typescript-v2.mjs https://localhost:8443/mcp IDENTITY-DIR TOOL [JSON]
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { fetchOf } from './mutual-tls.mjs';

const [url, directory, tool, given = '{}'] = process.argv.slice(2);
// `auto` asks for 2026-07-28 first; without it the SDK says `initialize`.
const client = new Client({ name: 'example', version: '1' }, { versionNegotiation: { mode: 'auto' } });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch: fetchOf(directory) }));

const { tools } = await client.listTools();
console.log(tools.map(({ name }) => name).sort().join(' '));
const { content } = await client.callTool({ name: tool, arguments: JSON.parse(given) });
console.log(content.map(({ text }) => text).join('\n'));
await client.close();
process.exit();
