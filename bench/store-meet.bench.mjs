// Claim: 4,000 clients are connected in 0.4 × the time that PyTorch's store takes, 10,000 have met in
// 0.5 ×; and a quiet client's get takes at most 10 ms (p99) while 9,999 others come. T-103:
// 10,000 connected and through `init/` take one core a second.
import { collect, interleave, row } from './lib.mjs';
import { load, nextRound, withServers } from './store.mjs';

export const name = 'store-meet';

const many = 10_000;
/** What store_load says in `meet`; in `connect`, only the first of it. The floor lets nobody wait. */
export const sizes = ['22:8', '34:8', '46:1'];
const count = number => number.toLocaleString('en');

export async function run({ launchers, scale, quick }) {
  const samples = collect();
  const modern = launchers.filter(l => !l.old && l.name !== 'floor');
  const runsOf = launcher => (launcher.old ? 1 : scale(5));
  const warmUp = 0; // a server that has met no one yet is what a job's start meets

  await withServers(launchers, { sizes }, async servers => {
    const meet = async (launcher, clients) => {
      const options = { clients, round: nextRound() };
      const result = await load(servers.get(launcher.name), 'meet', options);
      samples.add(`meet ${clients}`, launcher.name, result.seconds * 1_000);
      samples.add(`meet ${clients} cpu`, launcher.name, result.cpuUs);
    };
    const measure = async launcher => {
      const result = await load(servers.get(launcher.name), 'connect', { clients: 4_000 });
      samples.add('connect', launcher.name, result.seconds * 1_000);
      samples.add('connect cpu', launcher.name, result.cpuUs);
      await meet(launcher, 1_000);
      if (!launcher.old) await meet(launcher, many); // 1.13 resets some of so many
    };
    await interleave(launchers, 0, measure, { warmUp, runsOf });

    const storm = async (launcher, op, ms) => {
      const options = { op, clients: many, ms, round: nextRound() };
      const result = await load(servers.get(launcher.name), 'storm', options);
      samples.add(`storm ${op} p50`, launcher.name, result.p50Us / 1_000);
      samples.add(`storm ${op} p99`, launcher.name, result.p99Us / 1_000);
    };
    await interleave(modern, scale(3), launcher => storm(launcher, 'meet', 0), { warmUp });
    await interleave(modern, 1, launcher => storm(launcher, 'read', quick ? 500 : 3_000), {
      warmUp,
    });
  });

  await withServers(modern, { namesPeers: true }, async servers => {
    const measure = async launcher => {
      const options = { clients: 100, round: nextRound() };
      const result = await load(servers.get(launcher.name), 'meet', options);
      samples.add('named', launcher.name, result.seconds * 1_000);
    };
    await interleave(modern, scale(2), measure, { warmUp });
  });

  const ofTorch = factor => ({
    text: `${factor} × torchrun`,
    limit: (_, { torchrun }) => factor * torchrun?.p50,
  });
  return [
    row({
      what: 'store: 4,000 clients connected, one after the other',
      samples: samples.of('connect'),
      target: ofTorch(0.4),
    }),
    row({
      what: "the same: the server's CPU time per client",
      unit: 'µs',
      samples: samples.of('connect cpu'),
      detail: true,
    }),
    ...[1_000, many].flatMap(clients => [
      row({
        what: `store: ${count(clients)} clients connect at once, all through a barrier`,
        samples: samples.of(`meet ${clients}`),
        target: clients === many ? ofTorch(0.5) : undefined,
      }),
      row({
        what: "the same: the server's CPU time per client",
        unit: 'µs',
        samples: samples.of(`meet ${clients} cpu`),
        detail: true,
      }),
    ]),
    row({
      what: 'store: 100 clients connect at once, and DNS is asked for their names',
      samples: samples.of('named'),
      note: "PyTorch's server does so on its only thread; for the other rows its peers are but numbers to it",
    }),
    ...['p50', 'p99'].map(stat =>
      row({
        what: `store: get by a quiet client while 9,999 others come, ${stat}`,
        samples: samples.of(`storm meet ${stat}`),
        target: stat === 'p99' ? { text: '10 ms', limit: () => 10 } : undefined,
        detail: stat === 'p50',
      }),
    ),
    ...['p50', 'p99'].map(stat =>
      row({
        what: `store: get by a quiet client while 9,999 others read without pause, ${stat}`,
        samples: samples.of(`storm read ${stat}`),
        detail: true,
      }),
    ),
  ];
}
