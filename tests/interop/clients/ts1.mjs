// TypeScript SDK v1: `ts1.mjs default PLAN COMMAND [ARGS..]` over stdio, `.. PLAN https://.. DIR` over HTTP with
// a client certificate, `.. PLAN http://..` without. It knows only the eras that `initialize`.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { answers, updates, walk } from './steps.mjs';

const tools = createRequire(process.env.INTEROP_TOOLS + '/');
const load = (name) => import(pathToFileURL(tools.resolve(name)));
const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
const { StdioClientTransport } = await load('@modelcontextprotocol/sdk/client/stdio.js');
const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
const { fetchOf } = await load('./examples/mutual-tls.mjs');
const types = await load('@modelcontextprotocol/sdk/types.js');

const schemas = {
  sampling: types.CreateMessageRequestSchema,
  elicitation: types.ElicitRequestSchema,
  roots: types.ListRootsRequestSchema,
};

const [, planText, command, ...args] = process.argv.slice(2);
const plan = JSON.parse(planText);
const offered = plan.answers ?? [];

const client = new Client({ name: 'interop-ts1', version: '1' }, {
  capabilities: Object.fromEntries(offered.map((name) => [name, {}])),
});
const updated = updates();
client.interop = { v1: true, updated: updated.of };
for (const name of offered) client.setRequestHandler(schemas[name], async () => answers[name]());
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, (it) => updated.arrived(it.params.uri));

// v1 does not tell which version was agreed on, except to its transport.
const transport = /^https?:/.test(command)
  ? new StreamableHTTPClientTransport(new URL(command), args.length ? { fetch: fetchOf(args[0]) } : {})
  : new StdioClientTransport({ command, args });
let version = null;
const told = transport.setProtocolVersion?.bind(transport);
transport.setProtocolVersion = (agreed) => { version = agreed; told?.(agreed); };
await client.connect(transport);
await walk(client, plan, () => version);
