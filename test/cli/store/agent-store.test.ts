import { once } from 'node:events';
import { createServer } from 'node:net';
import { resolve } from 'node:path';
import t from 'tap';
import { runCli } from '../../harness.js';

// Who serves the store at the master port: the agent, or rank 0.

const hosts = resolve('test/fixtures/hosts_store.py');
const variable = { TORCH_DISABLE_SHARE_RDZV_TCP_STORE: '1' };

for (const [how, args, env] of [
  ['--agent-store=off', ['--agent-store=off', '--standalone'], {}],
  ['TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1', ['--standalone'], variable],
  ['TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, the plain command', [], variable],
] as const) {
  t.test(
    `F-F15 with ${how} rank 0 finds its port free in each round, and workers know`,
    async t => {
      const ended = await runCli(t, ['--nproc-per-node=2', '--max-restarts=1', ...args, hosts], {
        env,
      });

      t.equal(ended.code, 0, ended.stderr);
      const lines = ended.stdout.trim().split('\n').sort();
      t.match(lines, [/^round 0: bound (\d+) False$/, /^round 1: bound (\d+) False$/]);
    },
  );
}

t.test(
  'F-F15 by default, and where the static backend serves, the port is the agent’s',
  async t => {
    const on = ['--agent-store=on', '--standalone'];
    for (const [args, env] of [
      [['--standalone'], {}],
      [on, variable],
      // A port of one's own is torchrun's static backend, which knows no such variable.
      [['--master-port=0'], variable],
    ] as const) {
      const ended = await runCli(t, [...args, '--max-restarts=1', hosts], { env });
      t.equal(ended.code, 0, ended.stderr);
      t.match(
        ended.stdout,
        /^round 0: Address already in use True\nround 1: Address already in use True\n$/,
      );
    }
  },
);

t.test(
  'F-F15 a port that is left to rank 0 and that somebody has is told before the start',
  async t => {
    const stranger = createServer().listen(0, '127.0.0.1');
    await once(stranger, 'listening');
    t.teardown(() => stranger.close());
    const { port } = stranger.address() as { port: number }; // it listens at TCP

    const ended = await runCli(t, [`--master-port=${port}`, '--agent-store=off', hosts]);

    t.match(ended, { code: 1, stdout: '' });
    t.match(
      ended.stderr,
      new RegExp(`cannot serve the store at 127\\.0\\.0\\.1:${port}: the port is in use by`),
    );
  },
);

t.test('F-F15 heartbeats are heard where rank 0 serves the store', async t => {
  const beats = [resolve('test/fixtures/hangs.py'), 'beats', resolve('python')];
  const args = ['--agent-store=off', '--shutdown-timeout=5', '--hang-heartbeat=500ms'];
  const ended = await runCli(t, [...args, `--log-dir=${t.testdir()}`, ...beats]);

  t.equal(ended.code, 1);
  t.match(ended.stderr, /hung \(heartbeat\): no heartbeat for .*; the last was of step 5/);
});

t.test('F-F15 a dry run says who serves', async t => {
  for (const [args, store] of [
    [[], 'served by regroup'],
    [['--agent-store=off'], 'left to rank 0'],
  ] as const) {
    const { stdout } = await runCli(t, ['--dry-run', ...args, hosts]);
    t.match(stdout, new RegExp(`^ {2}store +${store}$`, 'm'));
  }
});
