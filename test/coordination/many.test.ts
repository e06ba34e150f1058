import t from 'tap';
import { connectServer } from '../../lib/coordination/server.js';
import { startOwnServer } from './own-server.js';

// As many agents as a large job has, at one server of ours.

const agents = 1_000;

t.test('R-052 a change reaches 1,000 agents by push, and no renewal is one', async t => {
  const server = await startOwnServer(t);
  const options = { host: '127.0.0.1', port: server.ownPort, timeoutMs: 60_000 };
  const clients = await Promise.all(Array.from({ length: agents }, () => connectServer(options)));
  const leases = await Promise.all(clients.map(client => client.lease(3_600_000)));
  const seen: string[][] = clients.map(() => []);
  let told = 0;
  const all = new Promise<void>(resolve => {
    for (const [i, client] of clients.entries()) {
      client.watch('job/', 1, {
        changed(events) {
          for (const event of events) seen[i]?.push(event.type === 'put' ? event.entry.value : '');
          told += events.length;
          if (told === agents) resolve();
        },
        ended: error => t.fail(error.message),
      });
    }
  });

  await Promise.all(leases.map(lease => lease.renew()));
  t.match(await clients[0]?.get(''), { revision: 0, entries: [] }, 'renewals change nothing');
  const sentMs = performance.now();
  await clients[0]?.put('job/round', 'sealed');
  await all;

  t.comment(`told after ${(performance.now() - sentMs).toFixed(1)} ms`);
  t.ok(seen.every(each => `${each}` === 'sealed'));
  await Promise.all(clients.map(client => client.close()));
});
