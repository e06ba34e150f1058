// Claim: the death of a worker that has touched 2 GB is told to its peer in 5 ms.
//
// The kernel tells of a death, by SIGCHLD, pidfd or the end of a pipe, once the memory is unmapped. Workers are Python
// scripts; the one that dies has the memory, the other stamps its SIGTERM.
import {
  bareScript,
  collect,
  deathWays,
  die,
  interleave,
  ms,
  randomPhase,
  row,
  startJob,
} from './lib.mjs';

export const name = 'early';

const touchMb = 2048;
const off = 'regroup, REGROUP_DISABLE=early-notice';

async function dieOnce(launcher, way, env) {
  const options = { nproc: 2, worker: bareScript, env: { BENCH_TOUCH_MB: `${touchMb}`, ...env } };
  const job = startJob(launcher, options);
  try {
    const [victim] = await job.until('touched', {});
    await job.until('start', { count: 2 });
    await randomPhase();
    const at = await die(job, victim, way);
    const [told] = await job.until('term', {});
    return ms(told.ns - at);
  } finally {
    job.abandon();
  }
}

export async function run({ launchers, scale }) {
  const samples = collect();
  await interleave(
    launchers.filter(l => !l.old),
    scale(6),
    async (launcher, i) => {
      const way = deathWays[(i + deathWays.length) % deathWays.length];
      const told = await dieOnce(launcher, way, {});
      if (i >= 0) samples.add('told', launcher.name, told);
      if (launcher.name !== 'regroup') return;
      const late = await dieOnce(launcher, way, { REGROUP_DISABLE: 'early-notice' });
      if (i >= 0) samples.add('off', launcher.name, late);
    },
  );
  return [
    row({
      what: `death of a worker that has touched ${touchMb / 1024} GB → its peer told`,
      samples: samples.of('told'),
      target: { text: '5 ms', limit: () => 5 },
    }),
    row({
      what: `the same, ${off}`,
      samples: samples.of('off'),
      detail: true,
    }),
  ];
}
