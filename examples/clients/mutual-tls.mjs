// A fetch that shows a client certificate, and trusts nobody but the CA's own roots.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, fetch } from 'undici';

/** Connections of the owner of an identity directory, as `vouchsafe issue` and `vouchsafe enroll` make it. */
export function agentOf(directory) {
  const file = (name) => readFileSync(join(directory, name), 'utf8');
  return new Agent({ connect: { ca: file('roots.pem'), cert: file('certificate.pem'), key: file('key.pem') } });
}

export function fetchOf(directory) {
  const dispatcher = agentOf(directory);
  return (url, options) => fetch(url, { ...options, dispatcher });
}
