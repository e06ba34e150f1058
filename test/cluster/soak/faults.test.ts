import t from 'tap';
import { burstOf, described, dice, faultKinds } from './faults.js';

const leaseMs = 3_000;
const nodes = 8;

function burstsOf(seed: number, count: number) {
  const draw = dice(seed);
  return Array.from({ length: count }, () => burstOf(draw, nodes, leaseMs));
}

t.test('a seed has the same faults each time, and another one has others', async t => {
  t.strictSame(burstsOf(7, 50), burstsOf(7, 50));
  t.notSame(burstsOf(7, 50), burstsOf(8, 50));
});

t.test('every kind of fault comes, and no two of a burst to one node', async t => {
  const bursts = burstsOf(1, 500);

  const kinds = new Set(bursts.flatMap(({ faults }) => faults.map(({ kind }) => kind)));
  t.strictSame([...kinds].sort(), [...faultKinds].sort());
  for (const { faults } of bursts) {
    const hit = faults.map(({ node }) => node);
    t.equal(new Set(hit).size, hit.length, faults.map(described).join(', '));
    t.ok(hit.every(node => node >= -1 && node < nodes));
  }
});
