// Walks an SDK client through a plan and says what came back.
//
// A plan is `{ answers: [..], steps: [{ do: .., .. }] }`, the report `{ version, outcomes: [..] }`: one outcome per
// step, `{ ok }` or `{ code, message }`. The Python driver speaks the same words, so one case judges every SDK.
// Nothing is judged here: a client that decided what is right could hide what is wrong.

const text = (result) => result.content.map((part) => part.text ?? `<${part.type}>`).join('\n');

const called = (result) => (result.isError ? { tool_error: text(result) } : { ok: text(result) });

const verbs = {
  tools: async (client) => ({ ok: (await client.listTools()).tools.map((tool) => tool.name).sort() }),
  call: async (client, step) => called(await client.callTool({ name: step.name, arguments: step.with ?? {} })),
  // Only the length travels on: the runner need not read megabytes to know that they arrived.
  measure: async (client, step) => {
    const result = await client.callTool({ name: step.name, arguments: step.with ?? {} });
    return { ok: { length: text(result).length, end: text(result).slice(-16) } };
  },
  progress: async (client, step) => {
    const seen = [];
    const result = await client.callTool({ name: step.name, arguments: step.with }, ...requestOptions(client, {
      onprogress: (progress) => seen.push(`${progress.progress}/${progress.total}`),
    }));
    return { ok: { seen, text: text(result) } };
  },
  cancel: async (client, step) => {
    // The first progress report proves that the call is running; only then is there anything to cancel.
    const stop = new AbortController();
    const call = client.callTool({ name: step.name, arguments: step.with }, ...requestOptions(client, {
      onprogress: () => stop.abort('no longer wanted'),
      signal: stop.signal,
    }));
    const ended = await call.then(() => 'answered', () => 'cancelled');
    return { ok: ended };
  },
  resources: async (client) => ({ ok: (await client.listResources()).resources.map((it) => it.uri).sort() }),
  templates: async (client) => ({
    ok: (await client.listResourceTemplates()).resourceTemplates.map((it) => it.uriTemplate).sort(),
  }),
  read: async (client, step) => ({
    ok: (await client.readResource({ uri: step.uri })).contents.map((it) => it.text ?? it.blob).join('\n'),
  }),
  prompts: async (client) => ({ ok: (await client.listPrompts()).prompts.map((it) => it.name).sort() }),
  prompt: async (client, step) => {
    const { messages } = await client.getPrompt({ name: step.name, arguments: step.with ?? {} });
    return { ok: messages.map((it) => it.content.text ?? `<${it.content.type}>`).join('\n') };
  },
  complete: async (client, step) => ({
    ok: (await client.complete({ ref: step.ref, argument: step.argument })).completion.values,
  }),
  subscribe: async (client, step) => (await client.subscribeResource({ uri: step.uri }), { ok: 'subscribed' }),
  updated: async (client, step) => ({ ok: await client.interop.updated(step.uri) }),
  // 2026-07-28: one stream of the wanted changes; the server says which of them it grants. `name` is a tool that
  // makes a change, and the step ends when the stream has told of it.
  listen: async (client, step) => {
    const stream = await client.listen({ resourceSubscriptions: step.uris });
    await client.callTool({ name: step.name, arguments: step.with });
    const event = await client.interop.updated(step.with.uri);
    await stream.close();
    return { ok: { granted: stream.honoredFilter.resourceSubscriptions, event } };
  },
};

// v1 takes a result schema between the request and its options; v2 does not.
const requestOptions = (client, options) => (client.interop.v1 ? [undefined, options] : [options]);

/** What this client answers when a server asks it something; `plan.answers` says which of these it offers. */
export const answers = {
  sampling: () => ({ model: 'interop', role: 'assistant', content: { type: 'text', text: 'sampled by the client' } }),
  elicitation: () => ({ action: 'accept', content: { name: 'elicited from the client' } }),
  roots: () => ({ roots: [{ uri: 'file:///root-of-the-client', name: 'root' }] }),
};

export const methods = { sampling: 'sampling/createMessage', elicitation: 'elicitation/create', roots: 'roots/list' };

/** Remembers `notifications/resources/updated`, so that a step can wait for one without racing it. */
export function updates() {
  const seen = new Set();
  const waiting = new Map();
  return {
    arrived(uri) {
      seen.add(uri);
      waiting.get(uri)?.(uri);
    },
    of: (uri) => (seen.has(uri) ? uri : new Promise((resolve) => waiting.set(uri, resolve))),
  };
}

export async function walk(client, plan, version) {
  const outcomes = [];
  for (const step of plan.steps) {
    try {
      outcomes.push(await verbs[step.do](client, step));
    } catch (error) {
      // The SDKs put a prefix of their own before the server's words; a case compares the server's words.
      const message = String(error.message).replace(/^MCP error -?\d+: /, '');
      outcomes.push({ code: error.code ?? null, message });
    }
  }
  const report = { version: version(), outcomes };
  await client.close();
  // Connections that are kept for another request must not keep the driver.
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit());
}
