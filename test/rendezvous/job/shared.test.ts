import t from 'tap';
import { draftOf, emptyView } from '../../../lib/rendezvous/job/shared.js';

const entry = (key: string, value: unknown, modified: number) => ({
  key: `job/${key}`,
  value: JSON.stringify(value),
  created: 1,
  modified,
});

t.test('R-052 a draft makes many changes, and leaves alone what it has given out', async t => {
  const draft = draftOf(emptyView, 'job/');

  draft.put(entry('leader', { agent: 'a' }, 1));
  draft.put(entry('done/0/a', true, 2));
  const first = draft.view(2);
  draft.put(entry('done/0/b', true, 3));
  draft.delete('job/done/0/a');
  draft.delete('job/leader');
  draft.put(entry('of-a-later-version', 1, 4));
  const second = draft.view(4);

  t.strictSame([...first.done.keys()], ['0/a']);
  t.match(first, { revision: 2, leader: { value: { agent: 'a' }, modified: 1 } });
  t.strictSame([...second.done.keys()], ['0/b']);
  t.match(second, { revision: 4, leader: undefined });
  t.equal(emptyView.done.size, 0);
  t.equal(second.members, emptyView.members, 'nothing is copied that does not change');
  t.throws(() => draft.put({ ...entry('round', 1, 5), value: '{' }), SyntaxError);
});
