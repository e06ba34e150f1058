// Claim: a worker's death is told to its peers in 2 ms, and answered by a restart in 1.3 × the floor.
//
// Each job dies many times: a random worker, in turn by exit code, SIGKILL and SIGSEGV, at a random
// phase of whatever poll the launcher may have. Jobs of the launchers alternate.
import {
  bare,
  collect,
  deathWays,
  die,
  interleave,
  ms,
  randomBelow,
  randomPhase,
  row,
  startJob,
  terminate,
  torchJob,
} from './lib.mjs';

export const name = 'death';

/** Sharing its store, torchrun loses some restarts for good (restarts.bench.mjs): here it doesn't share. */
const unshared = { TORCH_DISABLE_SHARE_RDZV_TCP_STORE: '1' };

export async function run({ launchers, scale }) {
  const samples = collect();

  const block = (nproc, deaths, worker) => async launcher => {
    const count = launcher.old ? 1 : deaths;
    const env = launcher.name === 'torchrun' && worker === torchJob ? unshared : {};
    const job = startJob(launcher, { nproc, maxRestarts: count, worker, env });
    const ready = worker === torchJob ? 'reduced' : 'start';
    for (let round = 0; round < count; round++) {
      await job.until(ready, { count: nproc + (ready === 'start' && round === 0 ? 1 : 0), round });
      await randomPhase();
      const way = deathWays[round % deathWays.length];
      const alive = job.find('start', round).filter(s => s.rank !== '-');
      const victim = alive[randomBelow(nproc)];

      const at = await die(job, victim, way, round);
      const again = await job.until('start', { count: nproc, round: round + 1 });

      const told = job.find('term', round);
      if (told.length !== nproc - 1)
        throw new Error(`${launcher.label}: ${told.length} of ${nproc - 1} peers got SIGTERM`);
      const kind = worker === torchJob ? 'torch' : 'bare';
      for (const s of told) samples.add(`${kind} ${nproc} told`, launcher.name, ms(s.ns - at));
      const last = Math.max(...again.map(s => s.ns));
      samples.add(`${kind} ${nproc} again`, launcher.name, ms(last - at));
      samples.add(`${kind} ${nproc} ${way}`, launcher.name, ms(last - at));
      if (ready !== 'reduced') continue;
      const reduced = await job.until('reduced', { count: nproc, round: round + 1 });
      const trained = Math.max(...reduced.map(s => s.ns));
      samples.add(`torch ${nproc} reduced`, launcher.name, ms(trained - at));
    }
    await terminate(launcher, job);
  };

  for (const nproc of [2, 8]) {
    await interleave(launchers, 0, block(nproc, 9, bare), {
      warmUp: 0,
      runsOf: launcher => scale(launcher.old ? 2 : 3),
    });
  }
  const modern = launchers.filter(l => !l.old);
  await interleave(modern, 0, block(2, 3, torchJob), { warmUp: 0, runsOf: () => scale(1) });

  const rows = [];
  for (const nproc of [2, 8]) {
    rows.push(
      row({
        what: `worker's death → peers told, ${nproc} bare workers`,
        samples: samples.of(`bare ${nproc} told`),
        stat: 'p99',
        target: { text: '2 ms, p99', limit: () => 2 },
      }),
    );
  }
  for (const nproc of [2, 8]) {
    const target = { text: '1.3 × floor', limit: floor => 1.3 * floor?.p50 };
    const what = `worker's death → last new first line, ${nproc} bare workers`;
    rows.push(row({ what, samples: samples.of(`bare ${nproc} again`), target }));
    for (const way of deathWays) {
      const alone = samples.of(`bare ${nproc} ${way}`);
      rows.push(row({ what: `of these, by ${way}`, samples: alone, target }));
    }
  }
  rows.push(
    row({
      what: "worker's death → first all_reduce on all, 2 torch workers",
      samples: samples.of('torch 2 reduced'),
      note: 'torchrun with its store not shared',
    }),
  );
  return rows;
}
