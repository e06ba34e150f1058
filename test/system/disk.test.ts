import t from 'tap';
import { createDisk, DiskError } from '../../lib/system/disk.js';
import { type Deferred, deferred } from '../../lib/util/deferred.js';

/** Calls that answer when the test says so, and in which order they have begun. */
function calls() {
  const begun: string[] = [];
  const answers = new Map<string, Deferred<string>>();
  return {
    begun,
    answer: (name: string) => answers.get(name)?.resolve(name),
    call: (name: string) => () => {
      begun.push(name);
      const answer = deferred<string>();
      answers.set(name, answer);
      return answer.promise;
    },
  };
}

const longMs = 600_000;

t.test(
  'as many calls are under way as there are lanes, the others wait for their turn',
  async t => {
    const disk = createDisk(2);
    const { begun, answer, call } = calls();
    const results = ['a', 'b', 'c', 'd'].map(name => disk.run(longMs, call(name)));

    t.strictSame(begun, ['a', 'b']);
    answer('b');
    t.equal(await results[1], 'b');
    t.strictSame(begun, ['a', 'b', 'c']);
    for (const name of ['a', 'c']) answer(name);
    await Promise.all([results[0], results[2]]);
    answer('d');
    t.equal(await results[3], 'd');
  },
);

t.test('what a call rejects with is its own', async t => {
  const disk = createDisk(1);
  await t.rejects(
    disk.run(longMs, () => Promise.reject(new Error('ENOENT'))),
    /ENOENT/,
  );
  t.equal(await disk.run(longMs, async () => 'next'), 'next');
});

t.test('a call that does not return fails at its deadline, and keeps its lane', async t => {
  const disk = createDisk(2);
  const { begun, answer, call } = calls();

  await t.rejects(disk.run(1, call('stuck')), DiskError);

  t.equal(await disk.run(longMs, async () => 'other lane'), 'other lane');
  const second = disk.run(1, call('stuck too'));
  const queued = disk.run(longMs, call('queued'));
  await t.rejects(second, DiskError);
  await t.rejects(queued, DiskError, 'told at once, since the disk answers nobody');
  await t.rejects(disk.run(longMs, call('later')), DiskError);
  t.strictSame(begun, ['stuck', 'stuck too']);

  // It comes back.
  answer('stuck');
  await new Promise(setImmediate);
  t.equal(await disk.run(longMs, async () => 'alive'), 'alive');
});

t.test('one that waits for its turn has a deadline, too', async t => {
  const disk = createDisk(1);
  const { begun, answer, call } = calls();
  const first = disk.run(longMs, call('slow'));

  await t.rejects(disk.run(1, call('late')), DiskError);

  answer('slow');
  t.equal(await first, 'slow');
  t.strictSame(begun, ['slow'], 'its deadline over, it is never made');
});
