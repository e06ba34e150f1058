import t from 'tap';
import { chosenOf } from '../../../lib/rendezvous/job/choose.js';
import {
  asOf,
  leftOutUntil,
  newlyLeftOut,
  noStrikes,
  type Strikes,
  struck,
} from '../../../lib/rendezvous/job/strikes.js';
import { settingsOf } from './settings.js';

const rule = { failures: 2, perMs: 100 };

/** After failures at `node@time`. */
function after(...failures: readonly string[]): Strikes {
  return failures.reduce((strikes, each) => {
    const [node = '', time] = each.split('@');
    return struck(strikes, node, rule, Number(time));
  }, noStrikes);
}

t.test('a node with too many failures within the time is left out for as long', t => {
  t.equal(leftOutUntil(after('a@0', 'b@1'), 'a', 1), undefined);
  t.equal(leftOutUntil(after('a@0', 'b@1', 'a@99'), 'a', 198), 199);
  t.equal(leftOutUntil(after('a@0', 'b@1', 'a@99'), 'a', 199), undefined, 'and then no more');
  t.equal(leftOutUntil(after('a@0', 'b@1', 'a@99'), 'b', 100), undefined);
  t.equal(leftOutUntil(after('a@0', 'a@100'), 'a', 100), undefined, 'the first is too long ago');
  t.equal(leftOutUntil(after('a@0', 'a@1', 'a@150'), 'a', 150), undefined, 'it begins anew');
  t.strictSame(after('a@0', 'a@1', 'b@101').leftOut, [], 'nothing is kept that is over');
  t.end();
});

t.test('one that had to take part all the same, and fails on, stays left out', t => {
  const strikes = after('a@0', 'a@1', 'a@50', 'a@60');
  t.strictSame(strikes.leftOut, [{ node: 'a', untilMs: 160 }]);
  t.end();
});

t.test('without a rule no node is left out', t => {
  t.strictSame(struck(after('a@0', 'a@1'), 'a', undefined, 2), noStrikes);
  t.strictSame(asOf(after('a@0', 'a@1'), undefined, 2), noStrikes);
  t.end();
});

t.test('by another clock all is as if it had just happened', t => {
  t.strictSame(asOf(after('a@0', 'a@1', 'b@1'), rule, 5_000), {
    failures: [{ node: 'b', atMs: 5_000 }],
    leftOut: [{ node: 'a', untilMs: 5_100 }],
  });
  t.end();
});

t.test('struck nodes take part only where the others are too few, and come last then', t => {
  const candidates = ['a', 'b', 'c'].map((node, since) => ({
    agent: node,
    incarnation: 1,
    node,
    localWorldSize: 1,
    since,
    isStruck: node === 'a',
  }));
  const chosen = (minNodes: number, maxNodes: number) =>
    chosenOf(candidates, candidates.slice(0, 2), settingsOf({ minNodes, maxNodes }))
      .map(({ node }) => node)
      .join(' ');

  t.equal(chosen(1, 3), 'b c');
  t.equal(chosen(2, 2), 'b c', 'a spare takes its place');
  t.equal(chosen(3, 3), 'b c a');
  t.end();
});

t.test('who is left out is told once', t => {
  const one = after('a@0', 'a@1');

  t.strictSame(newlyLeftOut(undefined, undefined), []);
  t.strictSame(newlyLeftOut(noStrikes, one), ['a']);
  t.strictSame(newlyLeftOut(one, after('a@0', 'a@1', 'b@2', 'b@3')), ['b']);
  t.strictSame(newlyLeftOut(one, noStrikes), []);
  t.end();
});
