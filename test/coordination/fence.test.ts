import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import t, { type Test } from 'tap';
import { guardianProgram, native } from '../../lib/native/addon.js';
import type { NativeEvent } from '../../lib/native/events.js';
import { guarded } from '../harness.js';

// Fences of the addon's supervisor, R-047.

/** A supervisor and what it tells, in order. */
function supervise(t: Test) {
  const { env, tmp } = guarded(t);
  const events: NativeEvent[] = [];
  let look = () => {};
  const options = { disable: [], guardian: guardianProgram() };
  const supervisor = native().createSupervisor(options, more => {
    events.push(...more);
    look();
  });
  t.teardown(() => supervisor.close());
  let groups = 0;

  async function until(name: NativeEvent['event']): Promise<NativeEvent> {
    for (;;) {
      const found = events.find(({ event }) => event === name);
      if (found !== undefined) return found;
      await new Promise<void>(resolve => {
        look = resolve;
      });
    }
  }

  return {
    supervisor,
    events,
    until,
    /** One worker that sleeps. @returns its pid */
    async start(): Promise<number> {
      const cookie = `fence-${process.pid}-${groups}`;
      supervisor.startGroup({
        group: groups++,
        cookie,
        tailBytes: 0,
        drainMs: 0,
        tidyUp: { graceMs: 100, leaveDetached: false, lingering: [], devices: '/dev' },
        plans: [
          {
            file: '/bin/sleep',
            argv: ['sleep', '1000'],
            env: [
              ...Object.entries(env).map(([key, value]) => `${key}=${value}`),
              `REGROUP_COOKIE=${cookie}`,
            ],
            stdin: 'null',
            cwd: tmp,
            stdout: { to: 'null' },
            stderr: { to: 'null' },
          },
        ],
      });
      const started = await until('started');
      if (started.event !== 'started') throw new Error('it has not started');
      return started.pids[0] ?? 0;
    },
  };
}

/** Whether a child of ours that nobody has reaped is dead. */
function isDead(pid: number): boolean {
  return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

t.test('R-047 workers end when the fence passes, while JS is blocked', async t => {
  const { supervisor, events, until, start } = supervise(t);
  const pid = await start();

  supervisor.setFence(native().boottimeMs() + 50);
  while (!isDead(pid)); // the test's time limit bounds it

  await until('ended');
  t.match(
    events.map(({ event }) => event).filter(event => event !== 'ungrouped'),
    ['started', 'fenced', 'exited', 'ended'],
  );
  t.match(await until('exited'), { exit: { how: 'signaled', signal: constants.signals.SIGKILL } });
  t.ok((await until('fenced')).atMs <= native().monotonicMs());
});

t.test('what is no time is refused as a fence', async t => {
  const { supervisor } = supervise(t);

  for (const wrong of [-1, Number.NaN, Number.POSITIVE_INFINITY, 1e300, '1', null, {}]) {
    t.throws(() => supervisor.setFence(wrong as number), TypeError, String(wrong));
  }
  supervisor.close();
  t.equal(supervisor.setFence(1), undefined, 'a closed one has none');
});
