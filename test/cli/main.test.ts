import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import { runCli } from '../harness.js';

const ends = resolve('test/fixtures/ends.py');
const oneThread = { OMP_NUM_THREADS: '1' };

t.test('--help goes to stdout, with exit code 0', async t => {
  const ended = await runCli(t, ['--help']);

  t.match(ended, { code: 0, stderr: '' });
  t.match(ended.stdout, /^usage: regroup \[options\] SCRIPT/);
});

t.test('a reader of --help who is gone is no error', async t => {
  const under = ['bash', '-c', '"$@" | true; echo "status ${PIPESTATUS[0]}"', 'bash'];
  const ended = await runCli(t, ['--help'], { under });

  t.match(ended, { stdout: 'status 0\n', stderr: '' });
});

t.test("--version is the package's", async t => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

  t.match(await runCli(t, ['--version']), { code: 0, stdout: `regroup ${version}\n`, stderr: '' });
});

t.test('a wrong command line ends with 2, usage and one line', async t => {
  const ended = await runCli(t, ['--bogus', 'train.py']);

  t.match(ended, { code: 2, stdout: '' });
  t.match(ended.stderr, /^usage: .*\n.*\nregroup: error: unrecognized arguments: --bogus\n$/);
});

t.test('--dry-run prints what would be started, and starts nothing', async t => {
  const args = ['--dry-run', '--nproc-per-node=2', '--no-python', 'false', 'a${local_rank}'];
  const ended = await runCli(t, args);

  t.match(ended, { code: 0, stderr: '' });
  t.match(ended.stdout, /worker 1 \(local 1\)\n +argv +false a1\n/);
});

t.test('--dry-run refuses what a run would refuse', async t => {
  const env = { CUDA_VISIBLE_DEVICES: '0' };
  const args = ['--dry-run', '--nproc-per-node=2', '--virtual-local-rank', '--no-python', 'true'];
  const ended = await runCli(t, args, { env });

  t.match(ended, { code: 1, stdout: '' });
  t.match(ended.stderr, /^regroup: error: local_rank 1 exceeds available GPUs[^\n]*\n$/);
});

t.test("--exit-code=worker passes the root cause's code on", async t => {
  for (const [how, code] of Object.entries({ '7': 7, '0': 0, '-11': 139 })) {
    const ended = await runCli(t, ['--exit-code=worker', ends, how]);
    t.equal(ended.code, code, how);
  }
});

t.test('L-044 regroup-launch warns, and passes --local-rank behind the script', async t => {
  const folder = t.testdir({ 'args.py': 'import sys; print(sys.argv[1:])' });
  const args = [join(folder, 'args.py'), 'a'];
  const command = 'regroup-launch';

  const ended = await runCli(t, args, { command });
  const withUseEnv = await runCli(t, ['--use-env', ...args], { command });

  t.match(ended, { code: 0, stdout: "['--local-rank=0', 'a']\n" });
  t.match(ended.stderr, /FutureWarning: The module torch\.distributed\.launch is deprecated\n/);
  t.equal(withUseEnv.stdout, "['a']\n");
});

t.test('LOGLEVEL=INFO shows what is launched, and where workers meet', async t => {
  const env = { LOGLEVEL: 'INFO', ...oneThread };
  const ended = await runCli(t, ['--nproc-per-node=2', '--no-python', 'true'], { env });

  t.equal(ended.code, 0);
  t.match(
    ended.stderr,
    /\] Starting elastic_operator with launch configs:\n.*\] {3}entrypoint {15}: true\n/,
  );
  t.match(ended.stderr, /\] {3}global_world_sizes=\[2, 2\]\n/);
});

t.test('L-034 OMP_NUM_THREADS is set for several workers, with a warning', async t => {
  const args = ['--nproc-per-node=2', '--no-python', 'sh', '-c', 'echo "$OMP_NUM_THREADS"'];
  const ended = await runCli(t, args, { env: { OMP_NUM_THREADS: undefined } });

  t.match(ended, { code: 0, stdout: '1\n1\n' });
  t.match(ended.stderr, 'Setting OMP_NUM_THREADS environment variable for each process to be 1');
});

t.test('L-035 an OMP_NUM_THREADS that is set to nothing is left alone', async t => {
  const args = ['--nproc-per-node=2', '--no-python', 'sh', '-c', 'echo "<$OMP_NUM_THREADS>"'];
  const ended = await runCli(t, args, { env: { OMP_NUM_THREADS: '' } });

  t.match(ended, { code: 0, stdout: '<>\n<>\n', stderr: '' });
});

t.test('a pipe that workers inherit stays blocking', async t => {
  const code = 'import os; print([os.get_blocking(fd) for fd in (1, 2)])';
  const ended = await runCli(t, ['--no-python', 'python3', '-c', code]);

  t.match(ended, { code: 0, stdout: '[True, True]\n' });
});
