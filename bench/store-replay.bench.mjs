// What 1,024 ranks ask of the store in init_process_group("gloo"): 3.1 million requests, 8.8 GB of answers.
import { collect, interleave, row } from './lib.mjs';
import { load, startServer } from './store.mjs';

export const name = 'store-replay';

export async function run({ launchers, scale, quick }) {
  const samples = collect();
  const stores = launchers.filter(l => l.name !== 'floor');

  /** A server of its own: a conversation's keys are the real ones, and used once. */
  const replay = async (launcher, dialect, clients) => {
    const server = await startServer(launcher);
    try {
      const result = await load(server, 'replay', { clients, dialect, limit: 300 });
      samples.add(dialect, launcher.name, result.seconds * 1_000);
      samples.add(`${dialect} cpu`, launcher.name, result.cpuUs);
    } finally {
      await server.close();
    }
  };
  const ranks = quick ? 64 : 1_024;
  const oldRanks = quick ? 32 : 128;
  const warmUp = 0;
  const modern = stores.filter(l => !l.old);
  await interleave(modern, scale(1), l => replay(l, 'D', ranks), { warmUp });
  const speaksA = stores.filter(l => l.old || l.name === 'regroup');
  await interleave(speaksA, scale(1), l => replay(l, 'A', oldRanks), { warmUp });

  return [
    { dialect: 'D', what: `store: ${ranks.toLocaleString('en')} ranks of PyTorch ≥ 2.6` },
    { dialect: 'A', what: `store: ${oldRanks} ranks of PyTorch 1.13`, detail: true },
  ].flatMap(({ dialect, what, detail }) => [
    row({ what: `${what} join a gloo group`, samples: samples.of(dialect), detail }),
    row({
      what: "the same: the server's CPU time per request",
      unit: 'µs',
      samples: samples.of(`${dialect} cpu`),
      detail: true,
    }),
  ]);
}
