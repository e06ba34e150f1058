// Claim: the death of a worker that holds a GPU is told to its peer in 5 ms, and the next round has the whole GPU.
//
// The kernel tells of a death once the driver has taken the GPU's memory back. An orphan that holds the GPU is a
// process of a session of its own, as loaders, servers and profilers are. Needs NVIDIA's driver.
import fs from 'node:fs';
import path from 'node:path';
import { collect, deathWays, die, interleave, ms, randomPhase, row, startJob } from './lib.mjs';
import { workersDir } from './machine.mjs';

export const name = 'gpu';

/** Two of these don't fit into a GPU of 80 GB. */
const holdMb = 48 * 1024;
const worker = { script: path.join(workersDir, 'gpu.py') };

async function dieOnce(launcher, way, env) {
  const options = { nproc: 2, maxRestarts: 1, worker };
  const job = startJob(launcher, { ...options, env: { BENCH_GPU_MB: `${holdMb}`, ...env } });
  try {
    await job.until('held', {});
    await job.until('start', { count: 2, round: 0 });
    await randomPhase();
    const victim = job.find('start', 0).find(({ rank }) => rank === '0');
    const at = await die(job, victim, way);
    const [told] = await job.until('term', { round: 0 });
    await job.until('start', { count: 2, round: 1 });
    const [again] = await Promise.race([job.until('got'), job.until('refused')]);
    return { told: ms(told.ns - at), again: ms(again.ns - at), isFree: again.event === 'got' };
  } finally {
    job.abandon();
  }
}

export async function run({ launchers, scale }) {
  if (!fs.existsSync('/dev/nvidia0')) throw new Error('no GPU of NVIDIA here: no /dev/nvidia0');
  const samples = collect();
  const measured = launchers.filter(l => l.name === 'torchrun' || l.name === 'regroup');
  await interleave(measured, scale(6), async (launcher, i) => {
    const way = deathWays[(i + deathWays.length) % deathWays.length];
    const { told, again } = await dieOnce(launcher, way, {});
    const late =
      launcher.name === 'regroup'
        ? await dieOnce(launcher, way, { REGROUP_DISABLE: 'early-notice' })
        : undefined;
    if (i < 0) return;
    samples.add('told', launcher.name, told);
    samples.add('again', launcher.name, again);
    if (late !== undefined) samples.add('off', launcher.name, late.told);
  });
  await interleave(measured, scale(3), async (launcher, i) => {
    const { isFree } = await dieOnce(launcher, 'exit', { BENCH_GPU_LOADER: '1' });
    if (i >= 0) samples.add('free', launcher.name, isFree ? 100 : 0);
  });
  const gb = holdMb / 1024;
  return [
    row({
      what: `death of a worker with ${gb} GB of a GPU → its peer told`,
      samples: samples.of('told'),
      target: { text: '5 ms', limit: () => 5 },
    }),
    row({
      what: 'the same, regroup, REGROUP_DISABLE=early-notice',
      samples: samples.of('off'),
      detail: true,
    }),
    row({
      what: `death → ${gb} GB taken again by the next round`,
      samples: samples.of('again'),
    }),
    row({
      what: `${gb} GB that an orphan held are free for the next round`,
      unit: '%',
      stat: 'min',
      samples: samples.of('free'),
      target: { text: 'always', limit: () => 100, atLeast: true },
    }),
  ];
}
