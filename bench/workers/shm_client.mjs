// Samples of a store's get, from Node: over shared memory and over TCP, in turns.
//
// `shm_client.mjs @STORE PORT ROUNDS`. Prints a line `OPERATION TRANSPORT NANOSECONDS…` for each.
import { connectStore, openSharedStore } from '../../dist/index.js';

const [store, port, rounds] = process.argv.slice(2);
const perRound = 100;
const batch = 20;
const client = await connectStore({ host: '127.0.0.1', port: Number(port) });
const shared = openSharedStore(store);
await client.set('hot', '0123456789abcdef');
const samples = { regroup: [], tcp: [] };

for (let turn = -1; turn < Number(rounds); turn++) {
  for (let i = 0; i < perRound; i++) {
    const begun = process.hrtime.bigint();
    for (let k = 0; k < batch; k++) if (shared.get('hot').length !== 16) throw new Error('wrong');
    const took = Number(process.hrtime.bigint() - begun) / batch;
    if (turn >= 0) samples.regroup.push(Math.round(took));
  }
  for (let i = 0; i < perRound; i++) {
    const begun = process.hrtime.bigint();
    if ((await client.get('hot')).length !== 16) throw new Error('wrong');
    const took = Number(process.hrtime.bigint() - begun);
    if (turn >= 0) samples.tcp.push(took);
  }
}
for (const [transport, ns] of Object.entries(samples)) console.log('get', transport, ...ns);
shared.close();
await client.close();
