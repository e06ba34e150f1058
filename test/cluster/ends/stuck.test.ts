import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { exitCodes } from '../../../lib/exit-codes.js';
import { type Agent, allStarted, codes, startCluster, succeed } from '../harness.js';

// A worker that no signal ends, of one node of several.

/** What's frozen there sleeps in the kernel, deaf to SIGKILL, like a process that waits for a dead disk. */
const freezers = '/sys/fs/cgroup/freezer';
const canFreeze = process.getuid?.() === 0 && existsSync(`${freezers}/cgroup.procs`);
const skip = canFreeze ? false : 'needs root and the freezer of cgroup v1';

/** @returns thaws it */
async function freeze(t: Test, pid: number | undefined): Promise<() => void> {
  if (pid === undefined) throw new Error('there is no worker to freeze');
  const folder = `${freezers}/regroup-test-${process.pid}-${pid}`;
  mkdirSync(folder);
  const thaw = () => writeFileSync(`${folder}/freezer.state`, 'THAWED');
  t.teardown(async () => {
    thaw();
    // Where the test has failed, it's its cluster that ends the worker, later.
    for (;;) {
      const [left = ''] = readFileSync(`${folder}/cgroup.procs`, 'utf8').split('\n');
      if (left === '') break;
      try {
        writeFileSync(`${freezers}/cgroup.procs`, left);
      } catch {
        await sleep(2); // it's gone, or about to be
      }
    }
    rmdirSync(folder);
  });
  writeFileSync(`${folder}/cgroup.procs`, `${pid}`);
  writeFileSync(`${folder}/freezer.state`, 'FROZEN');
  while (readFileSync(`${folder}/freezer.state`, 'utf8') !== 'FROZEN\n') await sleep(2);
  return thaw;
}

t.test('MN-17 pain 11: a node whose worker is stuck is replaced by a spare', { skip }, async t => {
  const cluster = await startCluster(t, 3);
  const { endpoint } = await cluster.serve();
  const options = ['--max-restarts=1', '--shutdown-timeout=1'];
  const meeting = { nnodes: '2', endpoint, options };
  const [one, two, three] = cluster.nodes;
  const agents = [one, two].map(node => cluster.join(node, meeting));
  const [stays, unfit] = agents as [Agent, Agent];
  const [, stuck] = await allStarted(agents, 0);
  const spare = cluster.join(three, meeting);
  await spare.line(/waiting for a place/);
  const thaw = await freeze(t, stuck?.pid);

  one.tell('exit 3');
  await unfit.line(/can't be killed: it's stuck in the kernel/);

  t.match(await allStarted([stays, spare], 1), [{ world: 2 }, { world: 2 }]);
  thaw();
  t.match(await unfit.end(), { code: exitCodes.nodeUnfit });
  succeed([one, three]);
  t.strictSame(await codes([stays, spare]), [0, 0]);
});
