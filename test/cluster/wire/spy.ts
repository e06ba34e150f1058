import { resolve } from 'node:path';
import type { Agent, Cluster } from '../harness.js';

/** Compiled beside the tests. */
const client = resolve('build/js/lib/coordination/server.js');

const script = `
const [, client, host, port] = process.argv;
const { connectServer } = await import(client);
const server = await connectServer({ host, port: Number(port) });
const { entries } = await server.get('');
console.log('keys ' + JSON.stringify(entries.map(({ key }) => key)));
server.watch('', 1, {
  changed(events) {
    for (const event of events) console.log(event.type + ' ' + (event.type === 'put' ? event.entry.key : event.key));
  },
  ended() {},
});
`;

/**
 * Looks at a server from outside of the job. It says which keys there are, `keys […]`, and then each change from the first on:
 * `put KEY` and `delete KEY`.
 */
export function spyOn(cluster: Cluster, endpoint: string): Agent {
  const [host = '', port = ''] = endpoint.split(':');
  const node = [process.execPath, '--input-type=module', '-e', script, '--'];
  return cluster.hub.run([...node, client, host, port]);
}
