// Claim: an idle client takes at most 4 KB of our store's heap.
import { collect, interleave, row } from './lib.mjs';
import { compileWithCore } from './machine.mjs';
import { hold, load, startProgram, startServer } from './store.mjs';

export const name = 'store-memory';

const clients = 5_000;
const keys = 100_000;

export async function run({ launchers, scale }) {
  const samples = collect();
  const stores = launchers.filter(l => l.name !== 'floor');

  /** @param size of the server, in bytes; called before and after */
  const measure = async (launcher, server, size, what) => {
    try {
      // The first client and key, and what they bring along for all, don't count.
      const first = await hold(server, 1);
      await load(server, 'fill', { keys: 1 });

      // Keys go first: what clients leave behind would be used for them.
      const empty = await size();
      await load(server, 'fill', { keys });
      const filled = await size();
      samples.add(`${what} key`, launcher.name, (filled - empty) / keys);
      const idle = await hold(server, clients);
      samples.add(`${what} client`, launcher.name, ((await size()) - filled) / clients);
      await idle.close();
      await first.close();
    } finally {
      await server.close();
    }
  };

  const warmUp = 0;
  const ofProcess = async launcher => {
    const server = await startServer(launcher);
    await measure(launcher, server, async () => server.residentBytes(), 'resident');
  };
  const runsOf = launcher => (launcher.old ? 1 : scale(2));
  await interleave(stores, 0, ofProcess, { warmUp, runsOf });

  const ours = stores.filter(l => l.name === 'regroup');
  const ofHeap = async launcher => {
    const server = await startProgram([compileWithCore('store_heap.cc', ['base', 'shm', 'store'])]);
    const size = async () => {
      server.child.stdin.write('\n');
      return Number((await server.line()).split(' ')[1]);
    };
    await measure(launcher, server, size, 'heap');
  };
  await interleave(ours, 1, ofHeap, { warmUp });

  return [
    row({
      what: 'store: resident memory per idle client',
      unit: 'bytes',
      samples: samples.of('resident client'),
    }),
    row({
      what: 'store: heap per idle client',
      unit: 'bytes',
      samples: samples.of('heap client'),
      target: { text: '4 KB', limit: () => 4_000 },
    }),
    row({
      what: 'store: resident memory per key of 29 bytes with a value of 128',
      unit: 'bytes',
      samples: samples.of('resident key'),
    }),
    row({
      what: 'the same: heap',
      unit: 'bytes',
      samples: samples.of('heap key'),
      detail: true,
    }),
  ];
}
