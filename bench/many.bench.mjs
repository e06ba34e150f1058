// Claim: 256 tiny workers start in floor + 40 ms, restart in 1.3 × and stop in 1.5 × the floor.
import {
  collect,
  interleave,
  ms,
  randomBelow,
  row,
  sleep,
  startJob,
  terminate,
  tiny,
} from './lib.mjs';

export const name = 'many';

const nproc = 256;

export async function run({ launchers, scale }) {
  const samples = collect();
  const modern = launchers.filter(l => !l.old);

  const measure = async (launcher, i) => {
    const job = startJob(launcher, { nproc, maxRestarts: 1, worker: tiny() });
    const first = await job.until('start', { count: nproc + 1, round: 0 });
    const started = Math.max(...first.map(s => s.ns));
    await sleep(50 + randomBelow(150));

    const workers = first.filter(s => s.rank !== '-');
    const at = job.kill(workers[randomBelow(nproc)].pid, 'SIGKILL');
    const again = await job.until('start', { count: nproc, round: 1 });
    const restarted = Math.max(...again.map(s => s.ns));
    await sleep(50 + randomBelow(150));

    const stopped = await terminate(launcher, job);
    if (job.find('term', 1).length !== nproc) throw new Error('not every worker was told');
    if (i < 0) return;
    samples.add('started', launcher.name, ms(started - job.startedNs));
    samples.add('restarted', launcher.name, ms(restarted - at));
    samples.add('stopped', launcher.name, stopped);
  };
  const runsOf = launcher => scale(launcher.name === 'torchrun' ? 5 : 10);
  await interleave(modern, 0, measure, { runsOf });

  return [
    row({
      what: '256 tiny workers: command → last first line',
      samples: samples.of('started'),
      target: { text: 'floor + 40 ms', limit: floor => floor?.p50 + 40 },
    }),
    row({
      what: '256 tiny workers: death of one → last new first line',
      samples: samples.of('restarted'),
      target: { text: '1.3 × floor', limit: floor => 1.3 * floor?.p50 },
    }),
    row({
      what: '256 tiny workers: SIGTERM → command gone',
      samples: samples.of('stopped'),
      target: { text: '1.5 × floor', limit: floor => 1.5 * floor?.p50 },
    }),
  ];
}
