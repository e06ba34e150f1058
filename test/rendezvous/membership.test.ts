import t from 'tap';
import type { Coordination, Lease } from '../../lib/coordination/coordination.js';
import { type KeeperEvent, keepMembership } from '../../lib/rendezvous/membership.js';

// What an agent makes of its lease, and of the end of the server that has granted it..

const leaseMs = 1_000;
const keptMs = 60_000;

/** Whatever has been granted is heard of. */
const settled = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

/** A membership at an engine that grants what it's asked for, and all that it has done, in order. */
async function begin({
  kept = keptMs,
  grants = [true],
}: {
  kept?: number;
  grants?: readonly (boolean | Promise<void>)[];
} = {}) {
  const done: string[] = [];
  let leases = 0;
  let nowMs = 100;
  let fenceMs: number | undefined;
  let tell: (what: KeeperEvent) => void = () => {};
  const lease = (ttlMs: number): Promise<Lease> => {
    const grant = grants[leases++] ?? true;
    if (grant === false) return new Promise(() => {}); // no answer
    const id = String(leases);
    return Promise.resolve(grant).then(() => ({
      id,
      ttlMs,
      renew: () => Promise.resolve(),
      revoke: () => Promise.resolve(),
    }));
  };
  const membership = keepMembership({
    coordination: { lease } as unknown as Coordination, // nothing else is called
    leaseMs,
    keptMs: kept,
    around: {
      setFence(atMs) {
        done.push(`fence ${atMs}`);
        fenceMs = atMs;
      },
      postponeFence(atMs) {
        done.push(`postpone ${atMs}`);
        if (fenceMs !== undefined && nowMs < fenceMs) fenceMs = Math.max(fenceMs, atMs);
      },
      bootMs: () => nowMs,
      keep({ id }, _, told) {
        done.push(`keep ${id}`);
        tell = told;
        return { close: () => void done.push(`leave ${id}`) };
      },
      leased: ({ id }) => void done.push(`leased ${id}`),
      moved: () => void done.push('moved'),
      gone: () => void done.push('gone'),
      lost: atMs => void done.push(`lost ${atMs}`),
      failed: error => void done.push(String(error)),
    },
  });
  await settled();
  return {
    membership,
    /** When workers are killed. */
    fenceMs: () => fenceMs,
    keeperTells: (what: KeeperEvent) => tell(what),
    async at(ms: number, act: () => void): Promise<string[]> {
      nowMs = ms;
      done.length = 0;
      act();
      await settled();
      return [...done];
    },
  };
}

t.test('a lease at another server moves no fence before others know of this node', async t => {
  const { membership, keeperTells, at } = await begin();

  t.strictSame(await at(500, () => keeperTells('moved')), ['leave 1', 'moved', 'leased 2']);
  t.ok(membership.isMoving());
  t.strictSame(await at(700, membership.registered), ['postpone 1300', 'keep 2']);
  t.notOk(membership.isMoving());
});

t.test(
  'a refusal of the next server moves the fence on until others know of this node',
  async t => {
    const { membership, at } = await begin();
    t.strictSame(await at(500, () => membership.refused(400)), [], 'its keeper hears of that');
    await at(500, membership.move);

    t.strictSame(await at(710, () => membership.refused(700)), ['postpone 1500']);
    t.strictSame(await at(810, () => membership.refused(800)), ['postpone 1600']);
    t.strictSame(await at(900, membership.move), ['moved', 'leased 3'], 'yet another one');
    t.strictSame(await at(1000, () => membership.refused(950)), ['postpone 1750']);
    t.strictSame(await at(1100, membership.registered), ['postpone 1700', 'keep 3']);
    t.strictSame(await at(1200, () => membership.refused(1150)), []);
  },
);

t.test('so it does where the next one has granted no lease yet', async t => {
  const { membership, at } = await begin({ grants: [true, false] });
  t.strictSame(await at(500, membership.move), ['leave 1', 'moved']);

  t.strictSame(await at(710, () => membership.refused(700)), ['postpone 1500']);
});

t.test(
  'a lease that was asked for before refusals, and granted after them, moves no fence back',
  async t => {
    let grant: () => void = () => {};
    const granted = new Promise<void>(resolve => {
      grant = resolve;
    });
    const { membership, fenceMs, at } = await begin({ grants: [true, granted] });
    await at(500, membership.move); // asks
    for (let ms = 800; ms < 5_500; ms += 300) await at(ms, () => membership.refused(ms));
    t.equal(fenceMs(), 6_100);

    await at(5_500, grant);
    await at(5_510, membership.registered);

    t.equal(fenceMs(), 6_100);
  },
);

t.test('a fence that has passed, or that there is none of, is not moved', async t => {
  const passed = await begin();
  await passed.at(500, passed.membership.move);
  t.strictSame(await passed.at(900, () => passed.membership.fenced(890)), [
    'lost 890',
    'fence 1700',
    'leased 3',
    'keep 3',
  ]);
  t.strictSame(await passed.at(910, () => passed.membership.refused(900)), []);

  const unfenced = await begin();
  await unfenced.at(500, unfenced.membership.move);
  t.strictSame(await unfenced.at(600, unfenced.membership.unfence), ['fence undefined']);
  t.strictSame(await unfenced.at(700, () => unfenced.membership.refused(650)), []);
  await unfenced.membership.close();
});

t.test('refusals of what may be found elsewhere say nothing', async t => {
  const { membership, at } = await begin({ kept: 0 });
  await at(500, membership.move);

  t.strictSame(await at(700, () => membership.refused(690)), []);
});

t.test('when nobody has taken the place of the next one in time, either, that is told', async t => {
  const { membership, at } = await begin();
  await at(500, membership.move);
  await at(700, () => membership.refused(700));

  t.strictSame(await at(60_700, () => membership.refused(60_699)), ['postpone 61499']);
  t.strictSame(await at(60_701, () => membership.refused(60_700)), ['gone']);
  t.strictSame(await at(60_901, () => membership.refused(60_900)), [], 'once');
});

t.test(
  'servers that come and go have no more time than one, until others know of this node',
  async t => {
    const { membership, at } = await begin();
    await at(500, membership.move);
    await at(700, () => membership.refused(700));
    await at(30_000, membership.move);
    await at(30_700, () => membership.refused(30_700));
    await at(60_600, membership.move);
    t.strictSame(await at(60_700, () => membership.refused(60_700)), ['gone']);
    await at(60_800, membership.move);
    t.strictSame(await at(60_900, () => membership.refused(60_900)), [], 'once');

    await at(61_000, membership.registered);
    await at(90_000, membership.move);
    t.strictSame(await at(90_700, () => membership.refused(90_700)), ['postpone 91500']);

    await at(91_510, () => membership.fenced(91_500));
    await at(150_000, membership.move);
    t.strictSame(await at(151_000, () => membership.refused(151_000)), ['postpone 151800']);
  },
);
