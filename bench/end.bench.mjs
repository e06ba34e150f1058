// Claim: the command ends 10 ms after the last worker's clean exit, 25 ms after a SIGTERM, and 50 ms after the
// grace period of workers that ignore it.
import { bare, collect, interleave, ms, row, sleep, startJob, terminate } from './lib.mjs';

export const name = 'end';

export async function run({ launchers, scale }) {
  const samples = collect();
  const runsOf = launcher => scale(launcher.old ? 2 : launcher.name.startsWith('torch') ? 8 : 20);

  const cleanExit = async (launcher, i) => {
    const nproc = 2;
    const job = startJob(launcher, { nproc, worker: bare });
    const first = await job.until('start', { count: nproc + 1 });
    await sleep(30 + 150 * Math.random());
    for (const s of first) if (s.rank !== '-') job.kill(s.pid, 'SIGUSR2');
    const exits = await job.until('exit', { count: nproc });
    const end = await job.ended([0]);
    job.abandon();
    const last = Math.max(...exits.map(s => s.ns));
    if (i >= 0) samples.add('clean', launcher.name, ms(end.ns - last));
  };
  await interleave(launchers, 0, cleanExit, { runsOf });

  const term = async (launcher, i) => {
    const nproc = 8;
    const job = startJob(launcher, { nproc, worker: bare });
    await job.until('start', { count: nproc + 1 });
    await sleep(30 + 150 * Math.random());
    const took = await terminate(launcher, job);
    if (job.find('term').length !== nproc) throw new Error('not every worker was told');
    if (i >= 0) samples.add('term', launcher.name, took);
  };
  await interleave(launchers, 0, term, { runsOf });

  // The floor knows no grace period, and 1.13 no option for it.
  const graceSeconds = 1;
  const stubborn = async (launcher, i) => {
    const nproc = 8;
    const flags = [`--shutdown-timeout=${graceSeconds}`];
    const env = { BENCH_DEAF: '1' };
    const job = startJob(launcher, { nproc, worker: bare, flags, env });
    await job.until('start', { count: nproc + 1 });
    await sleep(30 + 150 * Math.random());
    const took = await terminate(launcher, job);
    if (i >= 0) samples.add('stubborn', launcher.name, took - graceSeconds * 1_000);
  };
  const graceful = launchers.filter(l => !l.old && l.name !== 'floor');
  await interleave(graceful, scale(8), stubborn, { warmUp: 0 });

  return [
    row({
      what: "last worker's clean exit → command ends",
      samples: samples.of('clean'),
      target: { text: '10 ms', limit: () => 10 },
    }),
    row({
      what: 'SIGTERM → command gone, 8 workers that honour it',
      samples: samples.of('term'),
      target: { text: '25 ms', limit: () => 25 },
    }),
    row({
      what: 'SIGTERM → command gone, 8 workers that ignore it, beyond the grace period of 1 s',
      samples: samples.of('stubborn'),
      target: { text: '50 ms', limit: () => 50 },
    }),
  ];
}
