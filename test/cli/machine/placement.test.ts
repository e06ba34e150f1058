import t from 'tap';
import { allowedOf } from '../../../lib/system/allowed.js';
import { parseList } from '../../../lib/util/cpu-list.js';
import { runCli } from '../../harness.js';

const ours = parseList(allowedOf('self')?.cpus ?? '') ?? [];
const [first = 0, second] = ours;
const script = 'echo rank $RANK: $(sed -n "s/^Cpus_allowed_list:.//p" /proc/self/status)';
const tells = ['--no-python', 'sh', '-c', script];

function ranks(stdout: string): string[] {
  return stdout.split('\n').filter(Boolean).sort();
}

t.test('pain 19: each worker runs on the CPUs that were said', async t => {
  if (second === undefined) return t.plan(0, 'this needs two CPUs');
  const bind = `--bind=0:${second},1:${first}`;

  const ended = await runCli(t, ['--standalone', '--nproc-per-node=3', bind, ...tells]);

  t.equal(ended.code, 0, ended.stderr);
  t.match(ranks(ended.stdout), [`rank 0: ${second}`, `rank 1: ${first}`, /^rank 2: .*[,-]/]);
});

t.test('pain 20: workers without GPUs get cores of their own, where torchrun fails', async t => {
  const ended = await runCli(t, ['--standalone', '--numa-binding=exclusive', ...tells]);

  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, new RegExp(`^rank 0: ${first}`, 'm'));
});

t.test('CPUs that are not ours are refused before anything starts', async t => {
  const ended = await runCli(t, ['--standalone', '--bind=0:8000', ...tells]);

  t.equal(ended.code, 1);
  t.equal(ended.stdout, '');
  t.match(ended.stderr, /can't be bound: CPUs 8000 are not among those/);
});

t.test('with --numa-fallback workers start without, and a warning says why', async t => {
  const ended = await runCli(t, ['--standalone', '--bind=0:8000', '--numa-fallback', ...tells]);

  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, /^rank 0: /m);
  t.match(ended.stderr, /not bound: CPUs 8000 are not among those/);
});

t.test('a dry run names the binding of each worker', async t => {
  const ended = await runCli(t, ['--dry-run', `--bind=0:${first}`, '--no-python', 'true']);

  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, new RegExp(`bound to +CPUs ${first}\\b`));
});

t.test('a worker sees one GPU, and OpenMP gets the cores that are bound', async t => {
  const shows = 'echo rank $RANK: $CUDA_VISIBLE_DEVICES $LOCAL_RANK $OMP_PLACES $OMP_NUM_THREADS';
  const args = ['--standalone', '--nproc-per-node=2', '--gpu-per-rank', '--omp-places'];
  const bind = `--bind=0:${first},1:${first}`;

  const ended = await runCli(t, [...args, bind, '--no-python', 'sh', '-c', shows], {
    env: { CUDA_VISIBLE_DEVICES: 'GPU-5e,MIG-77' },
  });

  t.match(ended, { code: 0, stderr: '' });
  t.same(ranks(ended.stdout), [`rank 0: GPU-5e 0 {${first}} 1`, `rank 1: MIG-77 1 {${first}} 1`]);
});

t.test('what goes with a binding only is refused without one', async t => {
  for (const [args, why] of [
    [['--reserve-cores=1'], /--reserve-cores=1: nothing is bound without/],
    [['--omp-places'], /--omp-places.*: nothing is bound without/],
    [['--bind=0:0', '--threads-per-core=1'], /--threads-per-core=1: --bind says each CPU/],
    [['--bind=auto', '--threads-per-core=9'], /'9' is out of range .*from 1 to 8/],
    [['--bind=auto', '--reserve-cores=8000'], /8000 reserved cores leave none of/],
  ] as const) {
    const ended = await runCli(t, ['--standalone', ...args, ...tells]);

    t.equal(ended.code, 1);
    t.match(ended.stderr, why);
  }
});

t.test('cores that are kept back are nobody else’s, and INFO tells who got which', async t => {
  if (second === undefined) return t.plan(0, 'this needs two CPUs');
  const args = ['--standalone', '--bind=auto', '--reserve-cores=1'];

  const ended = await runCli(t, [...args, ...tells], { env: { LOGLEVEL: 'INFO' } });

  t.equal(ended.code, 0, ended.stderr);
  t.match(ended.stdout, new RegExp(`^rank 0: (?!.*\\b${first}\\b)`, 'm'));
  t.match(ended.stderr, /worker 0: CPUs \d/);
});
