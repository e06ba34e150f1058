import t from 'tap';
import { allowedOf } from '../../../lib/system/allowed.js';
import { runCli } from '../../harness.js';

const cpus = allowedOf('self')?.cpus ?? '';
const [first] = cpus.split(/[-,]/);

t.test('the machine and a plan are drawn, and nothing is started', async t => {
  const { code, stdout, stderr } = await runCli(t, ['topology', `--bind=0:${first}`]);

  t.match({ code, stderr }, { code: 0, stderr: '' });
  t.match(stdout, `this process may use CPUs ${cpus}\n`);
  t.match(stdout, /^ {2}node 0 {2}CPUs \d/m);
  t.match(stdout, /^workers, binding: as said by --bind$/m);
  t.match(stdout, new RegExp(`^  0 +- +CPUs ${first}$`, 'm'));
});

t.test('the same as JSON', async t => {
  const args = ['topology', '--json', '--numa-binding=node', '--nproc-per-node=2'];

  const { code, stdout } = await runCli(t, args);

  t.equal(code, 0);
  const { plan, ...machine } = JSON.parse(stdout);
  t.match(machine, { cpus, nodes: [{ node: 0 }], gpus: Array, nics: Array });
  t.match(plan, { mode: 'node', workers: [{ localRank: 0 }, { localRank: 1 }] });
  t.equal(plan.workers[0].cpus[0], Number(first));
});

t.test('a plan that cannot be had is an error, below the machine', async t => {
  const { code, stdout, stderr } = await runCli(t, ['topology', '--bind=0:8000']);

  t.equal(code, 1);
  t.match(stdout, /^ {2}node 0/m);
  t.notMatch(stdout, /^workers/m);
  t.match(stderr, /^regroup: error: workers can't be bound: CPUs 8000 .*\n$/);
});

t.test('its own help, and the errors of the options', async t => {
  t.match(await runCli(t, ['topology', '--help']), { code: 0, stdout: /^usage: regroup topology/ });
  t.match(await runCli(t, ['topology', '--nope']), { code: 2, stderr: /unrecognized arguments/ });
});

t.test('a script of that name is started by its path', async t => {
  const folder = t.testdir({ topology: 'print("the script")' });

  const { code, stdout } = await runCli(t, ['--standalone', './topology'], { cwd: folder });

  t.match({ code, stdout }, { code: 0, stdout: 'the script\n' });
});
