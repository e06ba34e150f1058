// Claim: the agent, with its helpers, takes at most 60 MB for 8 workers and 50 KB for each further one.
import { agentPids, readFile, row, sleep, startJob, terminate, tiny } from './lib.mjs';

export const name = 'memory';

/** Resident memory of the agent's processes, in MB of 10^6 bytes. */
function residentMb(job) {
  const kib = agentPids(job).map(pid =>
    Number(/^Rss:\s+(\d+) kB/m.exec(readFile(`/proc/${pid}/smaps_rollup`))[1]),
  );
  return (kib.reduce((a, b) => a + b, 0) * 1024) / 1e6;
}

export async function run({ launchers, scale }) {
  const few = 8;
  // By then Node has mapped the code of its garbage collector, 4 MB, which is nobody's in particular.
  const more = 72;
  const many = 136;
  const at = { [few]: {}, [more]: {}, [many]: {} };
  for (const launcher of launchers.filter(l => !l.old)) {
    for (let i = 0; i < scale(3); i++) {
      for (const nproc of [few, more, many]) {
        const job = startJob(launcher, { nproc, worker: tiny() });
        await job.until('start', { count: nproc + 1 });
        await sleep(1_000); // past whatever start-up leaves to be done later
        at[nproc][launcher.name] ??= [];
        at[nproc][launcher.name].push(residentMb(job));
        await terminate(launcher, job);
      }
    }
  }

  const perWorker = {};
  for (const [launcher, values] of Object.entries(at[more]))
    perWorker[launcher] = values.map(
      (mb, i) => ((at[many][launcher][i] - mb) * 1000) / (many - more),
    );
  return [
    row({
      what: 'agent resident memory, 8 workers',
      unit: 'MB',
      samples: at[few],
      target: { text: '60 MB', limit: () => 60 },
    }),
    row({
      what: 'resident memory per further worker',
      unit: 'KB',
      samples: perWorker,
      target: { text: '50 KB', limit: () => 50 },
    }),
  ];
}
