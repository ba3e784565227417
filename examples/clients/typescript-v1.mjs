// The TypeScript SDK v1 with a client certificate. Needs `npm install @modelcontextprotocol/sdk undici` and Node 22.19.
//   node typescript-v1.mjs https://localhost:8443/mcp IDENTITY-DIR TOOL [JSON]
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { fetchOf } from './mutual-tls.mjs';

const [url, directory, tool, given = '{}'] = process.argv.slice(2);
const client = new Client({ name: 'example', version: '1' });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { fetch: fetchOf(directory) }));

const { tools } = await client.listTools();
console.log(tools.map(({ name }) => name).sort().join(' '));
const { content } = await client.callTool({ name: tool, arguments: JSON.parse(given) });
console.log(content.map(({ text }) => text).join('\n'));
await client.close();
process.exit();
