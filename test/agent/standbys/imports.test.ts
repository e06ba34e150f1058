import t from 'tap';
import { listFor, whyMisfit, withKept } from '../../../lib/agent/standbys/imports.js';
import type { Kept } from '../../../lib/agent/standbys/kept.js';
import { actsOf } from '../../../lib/preload/learned.js';

const kept: Kept = {
  modules: ['json', 'torch'],
  replays: false,
  own: [{ path: '/t.py', mark: '1:1' }],
  files: [],
};

t.test('what was kept comes behind what was seen in this run', async t => {
  const own = [
    { path: '/t.py', mark: '1:1' },
    { path: '/own.py', mark: '2:2' },
  ];
  const seen = { acts: [['set', 'A=1'], ...actsOf(['csv', 'json'])] as const, own };

  t.strictSame(withKept(seen, kept), {
    acts: [
      ['set', 'A=1'],
      ['module', 'csv'],
      ['module', 'json'],
      ['module', 'torch'],
    ],
    own,
  });
});

t.test(
  'a script that is seen to be unsafe, or to end its list, is so with a kept list too',
  async t => {
    for (const why of [{ unsafe: 'it changes dlopen flags' }, { end: 'it sets A' }])
      t.strictSame(withKept({ acts: [], own: [], ...why }, kept), { acts: [], own: [], ...why });
  },
);

t.test('what was kept for other arguments is not kept for these', async t => {
  const now = { acts: actsOf(['csv']), own: [] };
  const known = withKept(now, kept);

  t.equal(listFor('a', known, now, undefined), known);
  t.equal(listFor('a', known, now, { ...kept, args: 'a' }), known);
  for (const others of [kept, { ...kept, args: 'b' }]) {
    t.equal(listFor('a', known, now, others), now);
    t.equal(listFor('a', known, undefined, others), undefined, 'nothing was seen');
    t.equal(listFor('a', known, { acts: [], own: [] }, others), undefined);
    t.equal(listFor('a', known, { ...now, unsafe: 'it is' }, others), undefined);
  }
});

t.test('standbys are not for a script that has done what they have not', async t => {
  const told = actsOf(['json', 'torch']);
  const own = [] as const;

  t.equal(whyMisfit(told, { acts: actsOf(['json']), own }), undefined);
  t.equal(whyMisfit(told, { acts: actsOf(['json', 'csv', 'torch']), own }), undefined);
  const sets = { acts: [['set', 'OMP_NUM_THREADS=2'], ...actsOf(['torch'])] as const, own };
  t.match(String(whyMisfit(told, sets)), /has changed OMP_NUM_THREADS before an import/);
  t.equal(whyMisfit([['set', 'OMP_NUM_THREADS=2'], ...told], sets), undefined);
  t.match(
    String(whyMisfit(told, { acts: [['unset', 'A'], ...told], own })),
    /has changed A before/,
  );
  t.strictSame(whyMisfit(told, { acts: [], own, unsafe: 'it is' }), { unsafe: 'it is' });
  t.equal(whyMisfit(told, { acts: actsOf(['json']), own, end: 'it ends' }), 'it ends');
  t.equal(whyMisfit(told, { acts: told, own, end: 'it ends' }), undefined);
});
