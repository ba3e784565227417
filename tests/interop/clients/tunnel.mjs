// A loopback port whose connections go on over mutual TLS, octet by octet: `tunnel.mjs DIR HOST:PORT`.
// It knows nothing of HTTP, so a client of plain HTTP meets the gateway itself. Its URL is its first line.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { connect } from 'node:tls';

const [directory, address] = process.argv.slice(2);
const [host, port] = address.split(':');
const file = (name) => readFileSync(`${directory}/${name}`);
const identity = { ca: file('roots.pem'), cert: file('certificate.pem'), key: file('key.pem') };

const server = createServer((near) => {
  const far = connect({ host, port, ...identity, servername: 'localhost', ALPNProtocols: ['http/1.1'] });
  near.pipe(far).pipe(near);
  // Whichever side breaks off takes the other with it.
  near.on('error', () => far.destroy()).on('close', () => far.destroy());
  far.on('error', () => near.destroy()).on('close', () => near.destroy());
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/mcp`));
