import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import t, { type Test } from 'tap';
import { connectServer } from '../../lib/coordination/server.js';
import { guardianProgram, native } from '../../lib/native/addon.js';
import type { NativeEvent } from '../../lib/native/events.js';
import type { NativeLeaseEvent } from '../../lib/native/lease.js';
import { guarded, serveStore } from '../harness.js';

// Fences of the addon's supervisor, and the leases that move them, R-047.

const host = '127.0.0.1';
/** Longer than anything here takes, on whatever machine. */
const patienceMs = 60_000;

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

/** Whether a child of ours is dead; the supervisor reaps it soon. */
function isDead(pid: number): boolean {
  try {
    return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true; // reaped, before or while it was read
  }
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
    t.throws(() => supervisor.postponeFence(wrong as number), TypeError, String(wrong));
  }
  t.throws(() => supervisor.postponeFence(undefined as unknown as number), TypeError);
  supervisor.close();
  t.equal(supervisor.setFence(1), undefined, 'a closed one has none');
  t.equal(supervisor.postponeFence(1), undefined);
});

/** A worker under a lease of a store of its own. */
async function underLease(t: Test, options: { ttlMs: number; stallMs?: number; token?: string }) {
  const supervised = supervise(t);
  const { supervisor, start } = supervised;
  const pid = await start();
  const { ttlMs, stallMs = patienceMs, token } = options;
  const { port, run } = await serveStore(t, 0, { REGROUP_TOKEN: token });
  const agents = await connectServer({ host, port, timeoutMs: patienceMs, token });
  t.teardown(() => agents.close());
  const marginMs = ttlMs / 10;
  const since = native().boottimeMs();
  const lease = await agents.lease(ttlMs);
  supervisor.setFence(since + ttlMs - marginMs);
  let hear: (event: NativeLeaseEvent) => void = () => {};
  const told = new Promise<NativeLeaseEvent>(resolve => {
    hear = resolve;
  });
  const secret = token === undefined ? {} : { token };
  const keeping = { host, port, lease: lease.id, ttlMs, marginMs, stallMs, ...secret };
  const keeper = native().keepLease(keeping, supervisor, hear);
  t.teardown(() => keeper.close());
  return { ...supervised, pid, store: run, lease, keeper, told };
}

t.test('R-047 workers live while the lease is kept, though JS is blocked for longer', async t => {
  const { pid, events, keeper, lease, supervisor, until } = await underLease(t, { ttlMs: 4000 });

  const untilMs = native().monotonicMs() + 6000;
  while (native().monotonicMs() < untilMs);

  t.notOk(isDead(pid));
  await lease.renew();
  keeper.close();
  await lease.renew();
  supervisor.setFence(undefined);
  supervisor.killAll(patienceMs);
  await until('ended');
  t.notOk(events.some(({ event }) => event === 'fenced'));
});

t.test('R-047 workers end when nobody answers for the lease any more', async t => {
  const { store, until } = await underLease(t, { ttlMs: 2000 });

  store.kill('SIGSTOP');

  await until('fenced');
  t.match(await until('exited'), { exit: { how: 'signaled', signal: constants.signals.SIGKILL } });
  await until('ended');
  store.kill('SIGCONT');
});

t.test('R-047 without a beat in time the lease is renewed no more', async t => {
  const { told, until } = await underLease(t, { ttlMs: 1000, stallMs: 100 });

  t.same(await told, { event: 'stalled' });

  await until('fenced');
  await until('ended');
});

for (const token of [undefined, 'a token of the job']) {
  t.test(
    `a lease that is lost is told, ${token === undefined ? 'without' : 'with'} a token`,
    async t => {
      const { told, lease, until } = await underLease(t, {
        ttlMs: 1000,
        ...(token === undefined ? {} : { token }),
      });

      await lease.revoke();

      t.same(await told, { event: 'lost' });
      await until('fenced');
      await until('ended');
    },
  );
}

t.test('what keeps no lease is refused', async t => {
  const { supervisor } = supervise(t);
  const options = { host, port: 1, lease: 'f', ttlMs: 100, marginMs: 10, stallMs: 100 };
  const keep = (changed: object, of: unknown = supervisor) =>
    native().keepLease({ ...options, ...changed }, of as typeof supervisor, () => {});

  for (const wrong of [
    { lease: '0' },
    { lease: 'g' },
    { lease: 15 },
    { port: 0 },
    { marginMs: 100 },
  ]) {
    t.throws(() => keep(wrong), TypeError, JSON.stringify(wrong));
  }
  for (const wrong of [{}, null, { ...supervisor }]) t.throws(() => keep({}, wrong), TypeError);
  t.throws(() => keep({ host: 'localhost' }), { code: 'EINVAL' });
});
