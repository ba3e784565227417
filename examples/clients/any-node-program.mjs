// Gives a client certificate to any Node program that uses fetch, without a change to it. Needs `npm install undici` and Node 22.19.
//   VOUCHSAFE_IDENTITY=DIR NODE_OPTIONS="--import $PWD/any-node-program.mjs" mcp-inspector --cli https://localhost:8443/mcp …
import { setGlobalDispatcher } from 'undici';
import { agentOf } from './mutual-tls.mjs';

setGlobalDispatcher(agentOf(process.env.VOUCHSAFE_IDENTITY));
