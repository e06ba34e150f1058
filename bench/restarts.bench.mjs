// Claim: no restart of a gloo job meets the leftovers of the round before: each trains again.
//
// Stock torchrun shares one store with all rounds of the workers, which then read addresses of dead
// processes (spec/tcpstore.md §0.7, pytorch issue 135712). A restart that doesn't reduce within the
// deadline, or whose workers die of it, has failed.
import { randomBelow, row, sleep, startJob, terminate, torchJob } from './lib.mjs';

export const name = 'restarts';

const nproc = 2;
const deadlineMs = 15_000;

/** Restarts one job up to `count` times, or until one hangs; [restarts, those that never trained]. */
async function restart(launcher, count) {
  const job = startJob(launcher, { nproc, maxRestarts: 2 * count + 2, worker: torchJob });
  let restarts = 0;
  let failed = 0;
  try {
    await job.until('reduced', { count: nproc, round: 0 });
    let round = 0;
    while (restarts < count) {
      await sleep(randomBelow(100));
      const workers = job.find('start', round).filter(s => s.rank !== '-');
      job.kill(workers[randomBelow(nproc)].pid, 'SIGKILL');
      round++;
      restarts++;
      // Rounds that fail by themselves are restarted by the launcher: each is a restart that never trained.
      for (;;) {
        const trained = job.until('reduced', { count: nproc, round, deadlineMs }).then(
          () => 'trained',
          () => 'hung',
        );
        const replaced = job.until('start', { round: round + 1, deadlineMs: deadlineMs + 1 }).then(
          () => 'replaced',
          () => 'hung',
        );
        const outcome = await Promise.race([trained, replaced]);
        if (outcome === 'trained') break;
        failed++;
        if (outcome === 'hung') return [restarts, failed];
        round++;
        restarts++;
      }
    }
    await terminate(launcher, job);
    return [restarts, failed];
  } finally {
    job.abandon();
  }
}

export async function run({ launchers, scale, restarts }) {
  const counts = { regroup: restarts ?? scale(20), torchrun: scale(6) };
  const failures = {};
  const notes = [];
  for (const launcher of launchers) {
    const wanted = counts[launcher.name];
    if (!wanted) continue;
    let done = 0;
    let failed = 0;
    while (done < wanted) {
      const [more, lost] = await restart(launcher, wanted - done);
      done += more;
      failed += lost;
    }
    failures[launcher.name] = [failed];
    notes.push(`${launcher.label}: ${failed} of ${done}`);
  }
  return [
    row({
      what: 'restarts of a 2-worker gloo job that never train again',
      unit: 'restarts',
      samples: failures,
      target: { text: 'none', limit: () => 0 },
      note: notes.join('; '),
    }),
  ];
}
