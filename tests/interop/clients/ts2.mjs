// TypeScript SDK v2: `ts2.mjs default|auto PLAN COMMAND [ARGS..]` over stdio, `.. PLAN https://.. DIR` over HTTP with a
// client certificate, `.. PLAN http://..` without.
// `auto` asks `server/discover` first and so meets a 2026-07-28 server in its own era; `default` says `initialize`.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { answers, methods, updates, walk } from './steps.mjs';

// The packages live in a folder of their own, so they are looked up from there and not from beside this file.
const tools = createRequire(process.env.INTEROP_TOOLS + '/');
const load = (name) => import(pathToFileURL(tools.resolve(name)));
const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
const { fetchOf } = await load('./examples/mutual-tls.mjs');
const { StdioClientTransport } = await load('@modelcontextprotocol/client/stdio');

const [mode, planText, command, ...args] = process.argv.slice(2);
const plan = JSON.parse(planText);
const offered = plan.answers ?? [];

const client = new Client({ name: 'interop-ts2', version: '1' }, {
  capabilities: Object.fromEntries(offered.map((name) => [name, {}])),
  ...(mode === 'auto' ? { versionNegotiation: { mode: 'auto' } } : {}),
});
const updated = updates();
client.interop = { v1: false, updated: updated.of };
for (const name of offered) client.setRequestHandler(methods[name], async () => answers[name]());
client.setNotificationHandler('notifications/resources/updated', (it) => updated.arrived(it.params.uri));

await client.connect(/^https?:/.test(command)
  ? new StreamableHTTPClientTransport(new URL(command), args.length ? { fetch: fetchOf(args[0]) } : {})
  : new StdioClientTransport({ command, args }));
await walk(client, plan, () => client.getNegotiatedProtocolVersion());
