// Claim: whatever one client asks of the store, a quiet client's get takes at most 10 ms (p99) meanwhile.
import { collect, interleave, row } from './lib.mjs';
import { load, startServer } from './store.mjs';

export const name = 'store-attack';

/** What store_load's attacks do; each to a server of its own, which it leaves full. */
const attacks = {
  nothing: 'nothing',
  lists: '131,072 keys, and LIST_KEYS without pause',
  sets: 'MULTI_SET of 131,072 keys without pause',
  collide: "MULTI_SET of 60,000 keys that collide in libstdc++'s hash",
  values: 'GET of a value of 240 MiB without pause',
  waits: 'WAIT that names a key 131,072 times, which comes and goes',
};

export async function run({ launchers, scale, quick }) {
  const samples = collect();
  const modern = launchers.filter(l => !l.old && l.name !== 'floor');
  const ms = quick ? 500 : 2_000;
  for (const attack of Object.keys(attacks)) {
    await interleave(
      modern,
      scale(3),
      async launcher => {
        const server = await startServer(launcher);
        try {
          const result = await load(server, 'attack', { op: attack, ms });
          samples.add(`${attack} p99`, launcher.name, result.p99Us / 1_000);
          samples.add(`${attack} max`, launcher.name, result.maxUs / 1_000);
        } finally {
          await server.close();
        }
      },
      { warmUp: 0 },
    );
  }
  return Object.entries(attacks).flatMap(([attack, what]) =>
    ['p99', 'max'].map(stat =>
      row({
        what: `store: get by a quiet client while another does ${what}, ${stat}`,
        samples: samples.of(`${attack} ${stat}`),
        target: stat === 'p99' ? { text: '10 ms', limit: () => 10 } : undefined,
        detail: stat === 'max',
      }),
    ),
  );
}
