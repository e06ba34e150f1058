import t from 'tap';
import { lead } from '../../../lib/rendezvous/job/lead.js';
import { emptyView, type Member, type View } from '../../../lib/rendezvous/job/shared.js';
import { settingsOf } from './settings.js';

const options = {
  agent: 'agent0',
  settings: settingsOf({ minNodes: 1, maxNodes: 2 }),
  policy: { maxRestarts: 0, rules: [], resetOnProgress: false },
  lastCallMs: 100,
  returnGraceMs: 100,
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

/** A live round of two, of whom those of `done` have succeeded. */
function liveRound(members: readonly number[], done: readonly number[], clock = 'agent0'): View {
  const participants = [0, 1].map(index => ({
    agent: `agent${index}`,
    incarnation: 1,
    node: `agent${index}`,
    localWorldSize: 1,
  }));
  const running = viewOf(0, 0).members;
  const kept = { created: 10, modified: 10 };
  return {
    ...emptyView,
    members: new Map(
      [...running]
        .filter((_, index) => members.includes(index))
        .map(([agent, { value, ...change }]) => [
          agent,
          { ...change, value: { ...value, state: { is: 'running', round: 0 } } },
        ]),
    ),
    round: {
      ...kept,
      value: {
        number: 0,
        restartCount: 0,
        participants,
        ledger: { spent: 1, restartedAtMs: [90_000_000], fruitless: 0, step: 0 },
        clock,
      },
    },
    done: new Map(done.map(index => [`0/agent${index}`, { ...kept, value: true }])),
  };
}

t.test('whoever is done may go, but not with the store that the others use', t => {
  t.equal(lead(liveRound([0], [1]), undefined, options, 1_000, 0).write, undefined);
  t.match(lead(liveRound([1], [0]), undefined, options, 1_000, 0).write, {
    value: { ending: { because: 'lost', agents: ['agent0'] } },
  });
  t.match(lead(liveRound([1], [0, 1]), undefined, options, 1_000, 0).write, {
    value: { is: 'succeeded' },
  });
  t.end();
});

t.test(
  "a leader takes what another one has counted as of now: their clocks can't be compared",
  t => {
    const report = {
      round: 0,
      failures: [],
      ranMs: 1,
      atMs: 1,
      progress: 0,
      isStuck: false,
      chance: 0,
    };
    const policy = {
      ...options.policy,
      maxRestarts: 9,
      window: { restarts: 9, perMs: 10_000 },
    };
    const failure = { agent: 'agent1', round: 0, report };
    for (const [clock, restartedAtMs] of [
      ['agent0', [2_000]],
      ['agent1', [2_000, 2_000]],
    ] as const) {
      const view = {
        ...liveRound([0, 1], [], clock),
        failures: new Map([['0/agent1', { value: failure, created: 11, modified: 12 }]]),
      };
      // By its own clock the one that was counted is an age away.
      const nowMs = clock === 'agent0' ? 900_000_000 : 2_000;
      const { write } = lead(view, undefined, { ...options, policy }, nowMs, 0);
      const expected = clock === 'agent0' ? [900_000_000] : restartedAtMs;
      t.match(write, { value: { clock: 'agent0', ledger: { restartedAtMs: expected } } });
    }
    t.end();
  },
);

t.test('MN-32 a spare takes the place of a lost node when that has not come back in time', t => {
  const lost = { because: 'lost', agents: ['agent1'], delayMs: 0 } as const;
  const left = { ...lost, because: 'left' } as const;
  /** A round of agent0 and agent1 that's over; those of `waiting` are ready for another one. */
  const over = (ending: typeof lost | typeof left, waiting: readonly string[]): View => {
    const { round, ...view } = liveRound([], []);
    const all = viewOf(0, 0, 0).members;
    const members = new Map([...all].filter(([agent]) => waiting.includes(agent)));
    if (round === undefined) throw new Error('there is one');
    return { ...view, members, round: { ...round, value: { ...round.value, ending } } };
  };
  const isFormedOf = (agents: readonly string[]) => ({
    value: { number: 1, participants: agents.map(agent => ({ agent })) },
  });

  const first = lead(over(lost, ['agent0', 'agent2']), undefined, options, 1_000, 0);
  t.equal(first.write, undefined);
  t.equal(first.wakeAtMs, 1_100, 'the return grace');
  const back = over(lost, ['agent0', 'agent1', 'agent2']);
  t.match(lead(back, first.memory, options, 1_050, 0).write, isFormedOf(['agent0', 'agent1']));
  const after = lead(over(lost, ['agent0', 'agent2']), first.memory, options, 1_100, 0);
  t.match(after.write, isFormedOf(['agent0', 'agent2']));
  const gone = lead(over(left, ['agent0', 'agent2']), undefined, options, 1_000, 0);
  t.match(gone.write, isFormedOf(['agent0', 'agent2']), 'one that left is not awaited');
  t.end();
});

t.test(
  'MN-46 a live round ends for newcomers that make it a larger legal one, and no others',
  t => {
    const settings = settingsOf({ minNodes: 1, maxNodes: 4, nodesSet: [2, 4] });
    const view = (newcomers: number): View => {
      const live = liveRound([0, 1], []);
      const all = [...viewOf(0, 0, ...Array.from({ length: newcomers }, () => -1)).members];
      return { ...live, members: new Map([...live.members, ...all.slice(2)]) };
    };

    const third = lead(view(1), undefined, { ...options, settings }, 1_000, 0);
    t.strictSame([third.write, third.wakeAtMs], [undefined, undefined]);
    const fourth = lead(view(2), undefined, { ...options, settings }, 1_000, 0);
    t.match(fourth.write, {
      value: { ending: { because: 'growth', agents: ['agent2', 'agent3'] } },
    });
    t.end();
  },
);

t.test(
  'a node that has failed too often is left out, and may come back when its time is over',
  t => {
    const strict = { ...options, policy: { ...options.policy, maxRestarts: 9 } };
    const rule = { ...strict, strikes: { failures: 1, perMs: 500 } };
    const report = {
      ...{ round: 0, failures: [], ranMs: 1, atMs: 1, progress: 0, isStuck: false, chance: 0 },
    };
    const failure = { value: { agent: 'agent1', round: 0, report }, created: 11, modified: 12 };
    const live = liveRound([0, 1], []);
    const view: View = { ...live, failures: new Map([['0/agent1', failure]]) };

    const { write } = lead(view, undefined, rule, 2_000, 0);
    t.match(write, { value: { strikes: { leftOut: [{ node: 'agent1', untilMs: 2_500 }] } } });
    t.match(lead(view, undefined, strict, 2_000, 0).write, { value: { strikes: { leftOut: [] } } });
    if (write?.key !== 'round') throw new Error('a round');
    const over = { value: write.value, created: 10, modified: 13 };
    const waits: View = { ...live, members: viewOf(0, 0).members, round: over };
    const seen = lead(waits, undefined, rule, 2_000, 0);
    const formed = lead(waits, seen.memory, rule, 2_100, 0).write;
    t.match(formed, { value: { number: 1, participants: [{ agent: 'agent0' }] } });
    if (formed?.key !== 'round') throw new Error('a round');
    t.equal(formed.value.participants.length, 1);
    const two = { ...rule, settings: settingsOf({ minNodes: 2, maxNodes: 2 }) };
    t.match(lead(waits, undefined, two, 2_000, 0).write, {
      value: { participants: [{ agent: 'agent0' }, { agent: 'agent1' }] },
    });

    const [zero, one] = viewOf(0, 0).members;
    if (zero === undefined || one === undefined) throw new Error('there are two');
    const state = { is: 'running', round: 1 } as const;
    const running = { ...zero[1], value: { ...zero[1].value, state } };
    const alone = {
      ...waits,
      members: new Map([[zero[0], running], one]),
      round: { value: formed.value, created: 10, modified: 14 },
    } as const;
    const left = lead(alone, undefined, rule, 2_200, 0);
    t.strictSame([left.write, left.wakeAtMs], [undefined, 2_500]);
    t.match(lead(alone, left.memory, rule, 2_500, 0).write, {
      value: { ending: { because: 'growth' } },
    });
    t.end();
  },
);
/** The same round at another server, which it was brought to. */
function restored(view: View): View {
  const { round } = view;
  if (round === undefined) throw new Error('there is none');
  return { ...view, round: { ...round, value: { ...round.value, isRestored: true } } };
}

t.test("R-047 nobody is lost at a server that has begun before a lease's time is over", t => {
  const view = restored(liveRound([0], []));
  const { memory, write, wakeAtMs } = lead(view, undefined, options, 1_000, 0);
  t.equal(write, undefined);
  t.equal(wakeAtMs, 6_000);
  t.equal(lead(view, memory, options, 5_999, 0).write, undefined);

  // First of all, whoever comes from now on sees that it's late.
  const settled = lead(view, memory, options, 6_000, 0);
  t.match(settled.write, { key: 'round', value: { number: 0, isRestored: undefined } });
  t.notOk(settled.write?.key === 'round' && settled.write.value.ending);
  t.match(lead(liveRound([0], []), settled.memory, options, 6_001, 0).write, {
    value: { ending: { because: 'lost', agents: ['agent1'] } },
  });
  t.end();
});

t.test('R-047 a round that was brought may fail before, and no other one forms', t => {
  const report = {
    round: 0,
    failures: [],
    ranMs: 1,
    atMs: 1,
    progress: 0,
    isStuck: false,
    chance: 0,
  };
  const failure = { agent: 'agent0', round: 0, report };
  const view = {
    ...restored(liveRound([0], [])),
    failures: new Map([['0/agent0', { value: failure, created: 11, modified: 12 }]]),
  };
  const policy = { ...options.policy, maxRestarts: 9 };
  const { write, memory } = lead(view, undefined, { ...options, policy }, 1_000, 0);
  t.match(write, { value: { isRestored: true, ending: { because: 'failed' } } });

  const value = write?.key === 'round' ? write.value : undefined;
  if (value === undefined) throw new Error('it has not ended');
  const over = { ...viewOf(0, 0), round: { value, created: 10, modified: 13 } };
  const { write: next, wakeAtMs } = lead(over, memory, options, 2_000, 0);
  t.equal(next, undefined, 'though all of it are out');
  t.equal(wakeAtMs, 6_000);
  t.end();
});

t.test('what is over of strikes does not count again with another leader', t => {
  const rule = { ...options, strikes: { failures: 2, perMs: 500 } };
  const live = liveRound([0, 1], []);
  const { round } = live;
  if (round === undefined) throw new Error('there is one');
  const strikes = {
    failures: [{ node: 'agent1', atMs: 100 }],
    leftOut: [{ node: 'agent2', untilMs: 1_000 }],
  };
  const withStrikes: View = { ...live, round: { ...round, value: { ...round.value, strikes } } };
  // agent1 goes, when both are long over.
  const members = new Map([...live.members].filter(([agent]) => agent !== 'agent1'));

  const { write } = lead({ ...withStrikes, members }, undefined, rule, 2_000, 0);
  t.match(write, { value: { ending: { because: 'lost' }, clock: 'agent0' } });
  t.strictSame(write?.key === 'round' && write.value.strikes, { failures: [], leftOut: [] });
  t.end();
});

t.test('MN-39 of two agents on one node with one given rank the first one takes part', t => {
  const all = viewOf(-1, -1, -1);
  const members = new Map(
    [...all.members].map(([agent, kept], index) => {
      const value = { ...kept.value, hint: index === 2 ? 1 : 0, node: index === 2 ? 'b' : 'a' };
      return [agent, { ...kept, value }];
    }),
  );
  const agentsOf = (given: Partial<typeof options> & { ranksAreGiven?: boolean }) => {
    const { write } = lead({ ...all, members }, undefined, { ...options, ...given }, 1_000, 0);
    const value = write?.key === 'round' ? write.value : undefined;
    return value?.participants.map(({ agent }) => agent);
  };

  t.strictSame(agentsOf({ ranksAreGiven: true }), ['agent0', 'agent2']);
  t.strictSame(agentsOf({}), ['agent0', 'agent1'], 'elsewhere it is a hint');
  t.end();
});

t.test('a table without a round goes on with what its members know of the last one', t => {
  const view = viewOf(7, 7);
  const past = (number: number, spent: number) => ({
    ...{ number, nodes: 2, clock: 'agent9' },
    ledger: { spent, restartedAtMs: [1], fruitless: 0, step: 0 },
  });
  const members = new Map(
    [...view.members].map(([agent, kept], index) => {
      const value = { ...kept.value, past: index === 0 ? past(7, 1) : past(7, 2) };
      return [agent, { ...kept, value }];
    }),
  );
  const { memory } = lead({ ...view, members }, undefined, options, 1_000, 0);
  const { write } = lead({ ...view, members }, memory, options, 6_000, 0);
  t.match(write, { value: { number: 8, ledger: { spent: 2, restartedAtMs: [1_000] } } });
  t.end();
});
