// Claim: from the command to the last worker's first line in floor + 35 ms.
import {
  bare,
  bareScript,
  collect,
  interleave,
  ms,
  row,
  sleep,
  startJob,
  terminate,
  torchJob,
} from './lib.mjs';

export const name = 'launch';

const target = {
  text: 'floor + 35 ms',
  limit: floor => floor?.p50 + 35,
};

export async function run({ launchers, scale }) {
  const samples = collect();

  const measure = (key, worker, nproc) => async (launcher, i) => {
    const job = startJob(launcher, { nproc, worker });
    const first = await job.until('start', { count: nproc + 1 }); // + the stopwatch's own
    const last = Math.max(...first.map(s => s.ns));
    const reduced = worker === torchJob ? await job.until('reduced', { count: nproc }) : [];
    await sleep(50); // past the moment in which a launcher may not know yet that its workers run
    await terminate(launcher, job);
    if (i < 0) return;
    samples.add(key, launcher.name, ms(last - job.startedNs));
    if (reduced.length > 0) {
      const lastReduced = Math.max(...reduced.map(s => s.ns));
      samples.add(`${key} reduced`, launcher.name, ms(lastReduced - job.startedNs));
    }
  };
  const runsOf = runs => launcher =>
    scale(launcher.old ? Math.ceil(runs / 4) : launcher.name.startsWith('torch') ? runs : 2 * runs);

  const rows = [];
  for (const nproc of [2, 8, 32]) {
    const key = `bare ${nproc}`;
    await interleave(launchers, 0, measure(key, bare, nproc), { runsOf: runsOf(8) });
    const what = `command → last worker's first line, ${nproc} bare workers`;
    rows.push(row({ what, samples: samples.of(key), target }));
  }

  await interleave(launchers, 0, measure('typed', bareScript, 2), { runsOf: runsOf(5) });
  const what = 'the same, 2 workers as users type it (script, interpreter with its site)';
  rows.push(row({ what, samples: samples.of('typed'), target }));

  const modern = launchers.filter(l => !l.old);
  for (const [nproc, runs] of [
    [2, 4],
    [4, 2],
  ]) {
    const key = `torch ${nproc}`;
    const options = { runsOf: () => scale(runs), warmUp: nproc === 2 ? 1 : 0 };
    await interleave(modern, 0, measure(key, torchJob, nproc), options);
    const firstLine = `command → last worker's first line, ${nproc} torch workers`;
    rows.push(row({ what: firstLine, samples: samples.of(key), target }));
    const reduced = `command → first all_reduce on all, ${nproc} torch workers`;
    rows.push(row({ what: reduced, samples: samples.of(`${key} reduced`) }));
  }
  return rows;
}
