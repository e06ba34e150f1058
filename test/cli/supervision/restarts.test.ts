import t from 'tap';
import type { AgentEvent } from '../../../lib/events.js';
import { launch } from '../../../lib/launch.js';
import { guarded, runCli, startCli } from '../../harness.js';

/** Adds one to a key of the round's store, as `init_process_group` does first of all, and fails in the first round. */
const usesStore = `
import os, socket, struct, sys
store = socket.create_connection((os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])))
store.sendall(bytes.fromhex('00cef7853c') + struct.pack('<BQ1sq', 4, 1, b'k', 1))
store.recv(8)
sys.exit(3 if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' else 0)
`;
const usesNoStore = `import os, sys; sys.exit(3 if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' else 0)`;

function restarting(script: string, ...flags: readonly string[]): string[] {
  const job = ['--standalone', '--nproc-per-node=2', '--max-restarts=1', ...flags];
  return [...job, '--no-python', 'python3', '-S', '-E', '-c', script];
}

t.test('a restart is told phase by phase, and the end tells what restarts have cost', async t => {
  const ended = await runCli(t, restarting(usesStore));

  t.equal(ended.code, 0);
  const words = ended.stderr
    .split('\n')
    .filter(line => /^regroup: (restarted|1 restart)/.test(line));
  t.match(words, [
    /^regroup: restarted in \d+ ms: noticed \d+ · stopped \d+ · rendezvous \d+ · started \d+ · script \d+$/,
    /^regroup: 1 restart \(1 × failure\) took \d.*; the workers trained for [\d.]+ % of \d.*s$/,
  ]);
  t.equal(words.length, 2);
  const [whole, ...phases] = (words[0]?.match(/\d+/g) ?? []).map(Number);
  t.equal(
    phases.reduce((sum, ms) => sum + ms, 0),
    whole,
    'they add up',
  );
});

t.test('a script that uses no store has its restart told when its round ends', async t => {
  const ended = await runCli(t, restarting(usesNoStore));

  t.equal(ended.code, 0);
  t.match(
    ended.stderr,
    /^regroup: restarted in \d+ ms: noticed .* · started \d+\nregroup: 1 restart /m,
  );
});

t.test(
  'where rank 0 serves the store a restart is told without the script, once it runs',
  async t => {
    const waits = `import os, sys
sys.exit(3) if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' else sys.stdin.read()`;
    const run = startCli(t, restarting(waits, '--agent-store=off'), { typing: true });

    await run.line(/^regroup: restarted in \d+ ms: noticed .* · started \d+$/);

    run.type();
    t.match(await run.ended, { code: 0 });
  },
);

t.test(
  'neither is told where nothing was restarted, or where people want to hear nothing',
  async t => {
    const [healthy, quiet] = await Promise.all([
      runCli(t, restarting('pass')),
      runCli(t, restarting(usesStore), { env: { LOGLEVEL: 'CRITICAL' } }),
    ]);

    t.match([healthy.code, quiet.code], [0, 0]);
    t.notMatch(healthy.stderr, /restart/);
    t.notMatch(quiet.stderr, /restart/);
  },
);

t.test('a program hears of each restart by an event, and of all by the result', async t => {
  const { env, tmp } = guarded(t);
  const run = launch({
    entrypoint: { program: 'python3' },
    args: ['-S', '-E', '-c', usesStore],
    nprocPerNode: 2,
    maxRestarts: 1,
    env: { ...env, TMPDIR: tmp },
  });
  const seen: AgentEvent[] = [];
  for await (const event of run.events()) seen.push(event);
  const result = await run.result;

  const names = seen.map(({ event }) => event);
  t.strictSame(
    names.filter(name => /^(round-started|restart(ed|-summary)|ended)$/.test(name)),
    ['round-started', 'round-started', 'restarted', 'restart-summary', 'ended'],
  );
  const told = seen.find(each => each.event === 'restarted');
  t.match(told, { round: 1, cause: 'failure' });
  t.strictSame(Object.keys(told?.phases ?? {}), [
    'noticed',
    'stopped',
    'rendezvous',
    'started',
    'script',
  ]);
  const { restarts, ...outcome } = result;
  t.strictSame(outcome, { outcome: 'succeeded' });
  t.match(restarts, { restarts: 1, byCause: { failure: 1 }, lostMs: told?.totalMs });
  t.ok(restarts && restarts.trainedMs + restarts.lostMs <= restarts.wallMs);
  t.ok(restarts && restarts.effectiveRatio > 0 && restarts.effectiveRatio < 1);
});
