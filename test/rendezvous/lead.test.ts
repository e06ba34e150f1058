import t from 'tap';
import { lead } from '../../lib/rendezvous/lead.js';
import { emptyView, type Member, tableVersion, type View } from '../../lib/rendezvous/shared.js';

const options = {
  settings: { version: tableVersion, minNodes: 1, maxNodes: 2, nodesPerUnit: 1 },
  policy: { maxRestarts: 0, rules: [], resetOnProgress: false },
  lastCallMs: 100,
  returnGraceMs: 100,
  leaseMs: 5_000,
  growDebounceMs: 100,
};

function viewOf(...rounds: readonly number[]): View {
  const members = rounds.map(
    (round, index): [string, { value: Member; created: number; modified: number }] => {
      const agent = `agent${index}`;
      const state = { is: 'waiting', round } as const;
      return [
        agent,
        {
          value: { agent, incarnation: 1, node: agent, localWorldSize: 1, state },
          created: index + 1,
          modified: index + 1,
        },
      ];
    },
  );
  return { ...emptyView, members: new Map(members) };
}

t.test(
  "a table without a round whose members were in one waits for whoever isn't there to be fenced",
  t => {
    const { memory, write, wakeAtMs } = lead(viewOf(7), undefined, options, 1_000, 0);
    t.equal(write, undefined);
    // Once there are enough, the last call.
    t.equal(wakeAtMs, 6_000);

    const after = lead(viewOf(7), memory, options, 6_000, 0);
    t.match(after.write, { key: 'round', value: { number: 8, restartCount: 8 } }, 'numbers go on');
    // All that there's room for may not be all that were in it.
    t.equal(lead(viewOf(7, 7), undefined, options, 1_000, 0).wakeAtMs, 6_000);
    t.end();
  },
);

t.test('a table that was always empty waits for the last call alone', t => {
  t.equal(lead(viewOf(-1), undefined, options, 1_000, 0).wakeAtMs, 1_100);
  t.match(lead(viewOf(-1, -1), undefined, options, 1_000, 0).write, { value: { number: 0 } });
  t.end();
});
