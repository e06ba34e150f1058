import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { exitCodes } from '../../../lib/exit-codes.js';
import { torchOrSkip } from '../torch.js';
import { type Job, jobFile, noSlurm, startSlurm } from './harness.js';

// The job files of docs/slurm.md, run by Slurm itself, with fewer nodes than they ask for.
// It's not among the process tests: a neighbour that hangs in execve holds slurmstepd up, which reads every process's /proc/PID/stat.

const twoNodes = ['--nodes=2'];
/** Workers on a node, as the job files have it. */
const nproc = 8;

/** Head of a `train.py` without PyTorch: it has met its master, and says what it has been told. */
const met = `
import json, os, signal, socket, sys
def say(text): os.write(1, (text + "\\n").encode())
def number(name): return int(os.environ[name])
def started():
    socket.create_connection((os.environ["MASTER_ADDR"], number("MASTER_PORT"))).close()
    say("started " + json.dumps({
        "node": os.environ["SLURMD_NODENAME"], "agent": os.getppid(), "rank": number("RANK"),
        "world": number("WORLD_SIZE"), "round": number("REGROUP_ROUND"),
    }))
`;

interface Started {
  readonly node: string;
  readonly agent: number;
  readonly rank: number;
  readonly world: number;
  readonly round: number;
}

/** All workers of two nodes, once they have said that they run. */
async function startedOn(job: Job): Promise<Started[]> {
  const workers: Started[] = [];
  while (workers.length < 2 * nproc) {
    const line = await job.line(/^started \{/);
    workers.push(JSON.parse(line.slice('started '.length)) as Started); // as written above
  }
  return workers.sort((a, b) => a.rank - b.rank);
}

/** Whether they're one world, and what each was told besides. */
function areOneWorld(t: Test, workers: readonly Started[], told: Partial<Started>): void {
  t.match(
    workers,
    Array.from({ length: 2 * nproc }, (_, rank) => ({ rank, world: 2 * nproc, ...told })),
  );
  t.equal(new Set(workers.map(({ agent }) => agent)).size, 2, 'agents');
}

t.test('in the steps of a real Slurm', { skip: noSlurm ?? false }, async t => {
  const slurm = await startSlurm(t, 3);
  const train = join(slurm.folder, 'train.py');

  await t.test('two nodes train with gloo, without a flag about nodes', async t => {
    const torch = torchOrSkip(t, 'newest');
    if (torch === undefined) return;
    copyFileSync('examples/train.py', train);
    // As many as two cores carry.
    const file = jobFile('Slurm').replace(`--nproc-per-node=${nproc}`, '--nproc-per-node=1');

    const job = await slurm.submit('train.sh', file, twoNodes, {
      PYTHON_EXEC: torch.python,
    });

    await job.line(/^training on 2 cpu workers$/);
    await job.line(/^step 200 loss/);
    t.equal(await job.code(), exitCodes.succeeded);
  });

  await t.test(
    'MN-02 a killed agent comes back on its node, and takes its place again',
    async t => {
      writeFileSync(
        train,
        `${met}
started()
while os.environ["REGROUP_ROUND"] == "0": signal.pause()
`,
      );
      const job = await slurm.submit('comes-back.sh', jobFile('Lost nodes', 1), twoNodes);
      const before = await startedOn(job);
      areOneWorld(t, before, { round: 0 });

      const victim = before.find(({ node }) => node === slurm.nodes[1]?.name)?.agent ?? 0;
      process.kill(victim, 'SIGKILL');

      const after = await startedOn(job);
      areOneWorld(t, after, { round: 1 });
      const places = (workers: readonly Started[]) => workers.map(({ node }) => node);
      t.strictSame(places(after), places(before));
      t.notOk(after.some(({ agent }) => agent === victim));
      t.equal(await job.code(), exitCodes.succeeded);
      t.notMatch(job.output(), /restarts? left/);
    },
  );

  await t.test(
    'MN-25 scancel --signal has all workers save, and the job is queued again by its exit code',
    async t => {
      writeFileSync(
        train,
        `${met}
def save(*_):
    open("checkpoint", "w").close()
    say("saved")
    sys.exit(1)
signal.signal(signal.SIGUSR1, save)
resumes = os.path.exists("checkpoint")
started()
if resumes: sys.exit(0)
while True: signal.pause()
`,
      );
      const file = jobFile('Notice before the end, and requeueing');
      const job = await slurm.submit('requeued.sh', file, twoNodes);
      areOneWorld(t, await startedOn(job), { round: 0 });

      await slurm.command('scancel', '--signal=USR1', String(job.id));

      for (let i = 0; i < 2 * nproc; i++) await job.line(/^saved$/);
      for (let i = 0; i < 2; i++)
        await job.line(
          new RegExp(
            `srun: error: node\\d: task \\d: Exited with exit code ${exitCodes.preempted}`,
          ),
        );
      await job.requeued();
      // Slurm itself waits for two minutes.
      await slurm.command('scontrol', 'update', `JobId=${job.id}`, 'StartTime=now');
      areOneWorld(t, await startedOn(job), { round: 0 });
      t.equal(await job.code(), exitCodes.succeeded);
    },
  );

  await t.test('a job that fails by itself is not queued again', async t => {
    writeFileSync(train, 'import sys\nsys.exit(7)\n');
    const file = jobFile('Notice before the end, and requeueing');

    const job = await slurm.submit('fails.sh', file, twoNodes);

    t.equal(await job.code(), exitCodes.failed) || t.comment(job.output());
  });

  await t.test(
    "a job's own variables, and another step's, are not mixed with the step's",
    async t => {
      writeFileSync(train, '');
      const show = 'regroup --dry-run train.py';
      writeFileSync(
        join(slurm.folder, 'within.sh'),
        `#!/bin/bash\nenv >environment\n${show} >within 2>&1\n`,
      );
      const within = 'sbatch --wait --nodes=2 --nodelist=node2,node3 within.sh >submitted';
      const script = `#!/bin/bash
${show} >script 2>&1
srun --nodes=1 --ntasks=1 ${show} >one 2>&1
srun --nodes=2 --ntasks=2 --relative=1 bash -c '${show} >last.$SLURM_NODEID 2>&1'
srun --nodes=2 --ntasks=4 --overcommit ${show} >twice 2>&1; echo "twice: $?"
srun --nodes=2 --ntasks=2 bash -c '[ $SLURM_NODEID = 1 ] || ${within}'
`;

      const job = await slurm.submit('variables.sh', script, ['--nodes=3']);

      t.equal(await job.code(), 0) || t.comment(job.output());
      const said = (name: string) => readFileSync(join(slurm.folder, name), 'utf8');
      const alone = new RegExp(`job ${job.id} of Slurm has 3 nodes, but srun did not start this`);
      t.match(said('script'), alone);
      for (const name of ['script', 'one', 'within'])
        t.notMatch(said(name), /--rdzv-endpoint/, name);
      t.match(said('environment'), /^SLURM_STEP_NODELIST=node\[1-2\]$/m);
      t.match(said('within'), /of Slurm has 2 nodes, but srun did not start this/);
      for (const rank of [0, 1]) {
        const options = said(`last.${rank}`);
        t.match(options, '--nnodes=2 (SLURM_STEP_NUM_NODES)');
        t.match(options, `--node-rank=${rank} (SLURM_NODEID)`);
        t.match(options, /--rdzv-endpoint=node2:\d+ \(SLURM_STEP_NODELIST, SLURM_JOB_ID\)/);
        t.match(options, `--rdzv-id=${job.id}.1 (`);
      }
      await job.line(/^twice: 1$/);
      t.match(said('twice'), /srun starts this command several times on a node/);
    },
  );
});
