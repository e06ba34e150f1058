import t from 'tap';
import type { GpuHolder } from '../../lib/events.js';
import { waitForGpus } from '../../lib/gpu/wait.js';

const ours: GpuHolder = { pid: 1, devices: ['nvidia0'], isOurs: true };
const stranger: GpuHolder = { pid: 2, devices: ['nvidia0'], isOurs: false };

/** Looks see these in turn, the last one from then on; a look takes `lookMs`. */
function play(waitMs: number, answers: readonly GpuHolder[][], lookMs = 5, cancelAfter = Infinity) {
  let now = 1000;
  let looks = 0;
  const sleeps: number[] = [];
  const held = waitForGpus(waitMs, {
    look: async () => {
      now += lookMs;
      return answers[Math.min(looks++, answers.length - 1)] ?? [];
    },
    nowMs: () => now,
    sleep: async ms => {
      sleeps.push(ms);
      now += ms;
    },
    isCancelled: () => looks > cancelAfter,
  });
  return held.then(holders => ({ holders, looks, sleeps, tookMs: now - 1000 }));
}

t.test('nobody holds a GPU: one look', async t => {
  t.match(await play(1000, [[]]), { holders: [], looks: 1, sleeps: [] });
});

t.test('others are told and not waited for', async t => {
  t.match(await play(1000, [[stranger]]), { holders: [stranger], looks: 1 });
});

t.test('ours are waited for, ever less often', async t => {
  const both = [ours, stranger];
  const played = await play(10_000, [both, both, both, both, both, both, [stranger]]);

  t.match(played, { holders: [stranger], looks: 7, sleeps: [20, 40, 80, 160, 250, 250] });
});

t.test('pain 27: who holds it at the end of the time is told', async t => {
  const { holders, tookMs, sleeps } = await play(100, [[ours]]);

  t.same(holders, [ours]);
  t.same(sleeps, [20, 40, 25], 'the last is what was left');
  t.ok(tookMs >= 100 && tookMs <= 105, `${tookMs}`);
});

t.test('a look that takes longer than all the time is the only one', async t => {
  t.match(await play(100, [[ours]], 2000), { holders: [ours], looks: 1, sleeps: [] });
});

t.test('it ends with the look after which it is cancelled', async t => {
  t.match(await play(10_000, [[ours]], 5, 2), { looks: 3 });
});
