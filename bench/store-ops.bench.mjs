// Claim: one request in flight from each of 64, 256 and 1,000 clients, the store answers 0.9 × as many as
// a bare epoll server, and 1.1 × as many as PyTorch's; in batches, a million a second.
import { collect, interleave, row } from './lib.mjs';
import { load, nextRound, startServer, withServers } from './store.mjs';

export const name = 'store-ops';

/** Bytes of a key and of a value, as store_load has them, and what follows from them. */
const key = 8 + '/bench/00000000'.length;
const value = 8 + 128;
/** Bytes of `/absent` and `/count/all`, with their lengths. */
const absent = 8 + 7;
const shared = 8 + 10;
const wait = `${1 + 8 + key}:1`;
const get = `${1 + key}:${value}`;
const setAndCheck = `${1 + key + value + 1 + 8 + key}:1`;
const add = `${1 + key + 8}:8`;
const sizes = {
  get: [wait, get],
  set: [setAndCheck],
  add: [add],
  read: [get],
  check: [`${1 + 8 + absent}:1`],
  poll: [`${1 + shared + 8}:8`],
  mix: [wait, get, setAndCheck, add],
};
const count = number => number.toLocaleString('en');
const clientsOf = number => (number === 1 ? '1 client' : `${count(number)} clients`);

/** A floor is made for its messages; the other servers are there already. */
async function measure(servers, launcher, options) {
  const server = servers.get(launcher.name);
  if (server) return load(server, 'ops', options);
  const floor = await startServer(launcher, { sizes: sizes[options.op] });
  try {
    return await load(floor, 'ops', options);
  } finally {
    await floor.close();
  }
}

export async function run({ launchers, scale, quick }) {
  const samples = collect();
  const ms = quick ? 50 : 200;
  const stores = launchers.filter(l => l.name !== 'floor');

  await withServers(stores, {}, async servers => {
    await interleave(launchers, scale(5), async (launcher, i) => {
      for (const clients of [64, 256, 1_000]) {
        const result = await measure(servers, launcher, { op: 'mix', clients, ms });
        if (i < 0) continue;
        samples.add(`mix ${clients}`, launcher.name, result.requests / result.seconds / 1_000);
        samples.add(`cpu ${clients}`, launcher.name, result.cpuUs);
      }
    });

    const latencies = async launcher => {
      for (const op of ['get', 'set', 'add'])
        for (const clients of [1, 64, 1_000]) {
          const result = await measure(servers, launcher, { op, clients, ms });
          samples.add(`${op} ${clients} p50`, launcher.name, result.p50Us);
          samples.add(`${op} ${clients} p99`, launcher.name, result.p99Us);
        }
      if (!servers.has(launcher.name)) return; // the floor wakes nobody
      for (const clients of [1, 64, 1_000]) {
        const options = { clients, ms, round: nextRound() };
        const result = await load(servers.get(launcher.name), 'wake', options);
        samples.add(`wake ${clients} p50`, launcher.name, result.p50Us);
        samples.add(`wake ${clients} p99`, launcher.name, result.p99Us);
      }
    };
    await interleave(launchers, scale(3), latencies, { warmUp: 0 });

    // T-101 CHECK of one absent key; T-102 every rank of 1,000 adds 0 each 10 ms, as 1.13 does.
    await interleave(
      launchers,
      scale(3),
      async launcher => {
        const check = await measure(servers, launcher, { op: 'check', clients: 64, ms });
        samples.add('check', launcher.name, check.requests / check.seconds / 1_000);
        const poll = await measure(servers, launcher, { op: 'poll', clients: 1_000, ms });
        samples.add('poll', launcher.name, (poll.cpuUs * 1_000 * 100 * 100) / 1e6);
      },
      { warmUp: 0 },
    );

    await interleave(
      launchers.filter(l => !l.old),
      scale(3),
      async launcher => {
        for (const op of ['read', 'add']) {
          const options = { op, clients: 64, depth: 32, ms };
          const result = await measure(servers, launcher, options);
          samples.add(`batch ${op}`, launcher.name, result.requests / result.seconds / 1e6);
        }
      },
      { warmUp: 0 },
    );
  });

  return [
    ...[64, 256, 1_000].flatMap(clients => [
      row({
        what: `store: answers a second, one request in flight from each of ${clientsOf(clients)}`,
        unit: 'thousands',
        samples: samples.of(`mix ${clients}`),
        target: {
          text: '≥ 0.9 × floor, 1.1 × torchrun',
          atLeast: true,
          limit: (floor, { torchrun }) => Math.max(0.9 * floor?.p50, 1.1 * torchrun?.p50),
        },
      }),
      row({
        what: `the same: the server's CPU time per answer, ${clientsOf(clients)}`,
        unit: 'µs',
        samples: samples.of(`cpu ${clients}`),
        detail: true,
      }),
    ]),
    ...['read', 'add'].map(op =>
      row({
        what: `store: ${op === 'read' ? 'GETs' : 'ADDs'} a second, 32 in flight from each of 64 clients`,
        unit: 'millions',
        samples: samples.of(`batch ${op}`),
        target: { text: '1 or more', atLeast: true, limit: () => 1 },
      }),
    ),
    row({
      what: 'store: CHECKs a second of one absent key, one in flight from each of 64 clients',
      unit: 'thousands',
      samples: samples.of('check'),
      target: { text: '100 or more', atLeast: true, limit: () => 100 },
    }),
    row({
      what: 'store: share of a core for 1,000 ranks that ADD 0 every 10 ms each',
      unit: '%',
      samples: samples.of('poll'),
      target: { text: 'below 100', limit: () => 100 },
    }),
    ...['get', 'set', 'add', 'wake'].flatMap(op =>
      [1, 64, 1_000].flatMap(clients =>
        ['p50', 'p99'].map(stat =>
          row({
            what:
              op === 'wake'
                ? `store: set → ${clientsOf(clients)} that wait told, ${stat}`
                : `store: ${op}, ${clientsOf(clients)}, ${stat}`,
            unit: 'µs',
            samples: samples.of(`${op} ${clients} ${stat}`),
            detail: clients > 1 || stat === 'p99',
          }),
        ),
      ),
    ),
  ];
}
