import fc from 'fast-check';
import t from 'tap';
import {
  initialStandbys,
  mayBeTaken,
  type StandbyAction,
  type StandbyHappening,
  type StandbyPolicy,
  type StandbyState,
  standbyStep,
} from '../../../lib/agent/standbys/step.js';

const policy = { count: 2, afterMs: 10, parkMs: 5000, maxLost: 3, prestarts: false };
const first = 2 ** 40;
const proof = first;
const group = first + 1;

/** What's done from the beginning, one word for each action. */
function played(
  happenings: readonly StandbyHappening[],
  change: Partial<StandbyPolicy> = {},
): {
  readonly state: StandbyState;
  readonly done: readonly string[];
} {
  let state = initialStandbys({ ...policy, ...change });
  const done: string[] = [];
  for (const happening of happenings) {
    const [after, actions] = standbyStep(state, happening);
    state = after;
    done.push(...actions.map(wordOf));
  }
  return { state, done };
}

function wordOf(action: StandbyAction): string {
  if ('group' in action) return `${action.do} ${action.group - first}`;
  return 'reason' in action ? `${action.do}: ${action.reason}` : action.do;
}

const runs = (round: number, isLast = false): StandbyHappening => ({
  event: 'round-runs',
  round,
  isLast,
});
const parked = (of: number, localRank: number): StandbyHappening => ({
  event: 'parked',
  group: of,
  localRank,
});
const lost = (of: number): StandbyHappening => ({ event: 'lost', group: of, reason: 'it ended' });
const made: readonly StandbyHappening[] = [
  runs(0),
  { event: 'due', round: 0 },
  parked(proof, 0),
  parked(group, 1),
];
const ready: readonly StandbyHappening[] = [...made, parked(group, 0), { event: 'round-over' }];

/** What `made` leads to. */
const making = ['arm', 'prove 0', 'limit 0', 'discard 0', 'make 1', 'limit 1'];

const cases: readonly [title: string, happenings: readonly StandbyHappening[], done: string[]][] = [
  ['nothing is started before a round has run for a while', [runs(0)], ['arm']],
  [
    'an interpreter shows that it parks before one gets a script',
    [runs(0), { event: 'due', round: 0 }],
    ['arm', 'prove 0', 'limit 0'],
  ],
  [
    'a round that ended before has no standbys',
    [runs(0), { event: 'round-over' }, { event: 'due', round: 0 }],
    ['arm'],
  ],
  [
    'all of them are taken over by the next round',
    [...ready, { event: 'take' }],
    [...making, 'tell-parked 1', 'take-over 1'],
  ],
  [
    'a round that starts before all are parked starts cold, with nobody who imports beside it',
    [...made, { event: 'round-over' }, { event: 'take' }, runs(1), parked(group, 0)],
    [...making, 'discard 1', 'arm'],
  ],
  [
    'those that are not for the round that starts are thrown away',
    [...ready, { event: 'take', unfit: 'x' }, { event: 'take' }],
    [...making, 'tell-parked 1', 'discard 1', 'tell-trouble: x'],
  ],
  [
    'where the interpreter does not park, none is made, and it is said once',
    [runs(0), { event: 'due', round: 0 }, lost(proof), runs(1), { event: 'due', round: 1 }],
    [
      'arm',
      'prove 0',
      'limit 0',
      'discard 0',
      "tell-trouble: its interpreter doesn't wait: it ended",
    ],
  ],
  [
    'one that says what is wrong with it is the last',
    [...made, { event: 'parked', group, localRank: 0, problem: 'a GPU is open' }, lost(group)],
    [...making, 'discard 1', 'tell-trouble: a GPU is open'],
  ],
  [
    'where they may import less, others are made',
    [
      ...made,
      { event: 'parked', group, localRank: 0, problem: 'a GPU is open', retry: true },
      { event: 'due', round: 0 },
    ],
    [...making, 'discard 1', 'tell-trouble: a GPU is open', 'arm', 'make 2', 'limit 2'],
  ],
  [
    'where none can be asked for, none is, and it is said once',
    [runs(0), { event: 'due', round: 0 }, { event: 'unable', group: proof, reason: 'x' }, runs(1)],
    ['arm', 'prove 0', 'limit 0', 'discard 0', 'tell-trouble: x'],
  ],
  [
    'imports that do not end are given up',
    [...made, { event: 'overdue', group: proof }, { event: 'overdue', group }],
    [...making, 'discard 1', 'tell-trouble: not ready after 5 s'],
  ],
  [
    'where there is no room, those that wait go, and others are made when there is',
    [
      ...ready,
      { event: 'hold', reason: 'x' },
      { event: 'take' },
      runs(1),
      { event: 'due', round: 1 },
      { event: 'release' },
      { event: 'due', round: 1 },
    ],
    [
      ...making,
      'tell-parked 1',
      'discard 1',
      'tell-trouble: x; others are made later',
      'arm',
      'make 2',
      'limit 2',
    ],
  ],
  [
    'room that comes when a round has just begun waits until that is due',
    [
      ...made,
      { event: 'hold', reason: 'x' },
      { event: 'round-over' },
      { event: 'take' },
      runs(1),
      { event: 'release' },
      { event: 'due', round: 0 },
    ],
    [...making, 'discard 1', 'tell-trouble: x; others are made later', 'arm'],
  ],
  [
    'room that comes between rounds is used by the next one',
    [
      runs(0),
      { event: 'hold', reason: 'x' },
      { event: 'round-over' },
      { event: 'release' },
      runs(1),
      { event: 'due', round: 1 },
    ],
    ['arm', 'tell-trouble: x; others are made later', 'arm', 'prove 0', 'limit 0'],
  ],
  [
    'the last round has none',
    [...ready, runs(1, true), { event: 'take' }],
    [...making, 'tell-parked 1', 'discard 1'],
  ],
];

for (const [title, happenings, done] of cases) {
  t.test(`standbys: ${title}`, t => {
    t.strictSame(played(happenings).done, done);
    t.end();
  });
}

/** Of the first round, as far as they're made. */
const first1: readonly StandbyHappening[] = [
  { event: 'prestart' },
  parked(proof, 0),
  { event: 'started', group },
  parked(group, 1),
];
const making1 = ['prove 0', 'limit 0', 'discard 0', 'make 1', 'limit 1'];

const firstCases: typeof cases = [
  [
    'those that are parked are taken over, and others follow once it runs',
    [...first1, parked(group, 0), { event: 'take' }, runs(0), { event: 'due', round: 0 }],
    [...making1, 'tell-parked 1', 'take-over 1', 'arm', 'make 2', 'limit 2'],
  ],
  [
    'those that import still are taken over all the same, and no limit of theirs ends them',
    [...first1, { event: 'take' }, { event: 'overdue', group }, parked(group, 0), runs(0)],
    [...making1, 'take-over 1', 'arm'],
  ],
  [
    'those that are not known to have started are thrown away',
    [
      { event: 'prestart' },
      parked(proof, 0),
      { event: 'take' },
      { event: 'started', group },
      runs(0),
    ],
    [...making1, 'discard 1', 'arm'],
  ],
  [
    'it does not wait for an interpreter that has only been asked whether it parks',
    [{ event: 'prestart' }, { event: 'take' }, parked(proof, 0), runs(0)],
    ['prove 0', 'limit 0', 'discard 0', 'arm'],
  ],
  [
    'those that are not for it are thrown away, parked or not',
    [...first1, { event: 'take', unfit: 'x' }, runs(0)],
    [...making1, 'discard 1', 'tell-trouble: x', 'arm'],
  ],
  [
    'one that dies ends them, and no others are made before it runs',
    [...first1, lost(group), { event: 'prestart' }, { event: 'take' }, runs(0)],
    [...making1, 'discard 1', 'tell-trouble: it ended', 'arm'],
  ],
  [
    'slow ones end with a line, and others are made once it runs',
    [...first1, { event: 'overdue', group }, { event: 'take' }, runs(0)],
    [...making1, 'discard 1', 'tell-trouble: not ready after 5 s', 'arm'],
  ],
  [
    'where there is no room none are made',
    [{ event: 'hold', reason: 'x' }, { event: 'prestart' }, { event: 'take' }, runs(0)],
    ['tell-trouble: x; others are made later', 'arm'],
  ],
  ['what is known too late is too late', [{ event: 'take' }, { event: 'prestart' }], []],
  [
    'a run that ends while it is awaited ends them',
    [...first1, { event: 'close' }, parked(group, 0)],
    [...making1, 'discard 1'],
  ],
  [
    'a notice while it is awaited leaves them to the end of the run',
    [...first1, { event: 'round-over' }, { event: 'close' }],
    [...making1, 'discard 1'],
  ],
];

for (const [title, happenings, done] of firstCases) {
  t.test(`standbys of a first round: ${title}`, t => {
    t.strictSame(played(happenings, { prestarts: true }).done, done);
    t.end();
  });
}

t.test('nobody imports before a first round that is to start as ever', t => {
  t.strictSame(played(first1).done, []);
  t.end();
});

t.test('standbys that are lost are replaced, but not for ever', t => {
  const happenings: StandbyHappening[] = [runs(0), { event: 'due', round: 0 }, parked(proof, 0)];
  for (let at = group; at < group + 5; at++)
    happenings.push(parked(at, 0), lost(at), { event: 'due', round: 0 });

  const { state, done } = played(happenings);

  t.equal(state.phase, 'off');
  t.strictSame(
    done.filter(word => word.startsWith('make')),
    ['make 1', 'make 2', 'make 3'],
  );
  t.strictSame(
    done.filter(word => word.startsWith('tell-trouble')),
    ['tell-trouble: it ended', 'tell-trouble: it ended', 'tell-trouble: it ended'],
  );
  t.end();
});

t.test('without a wish for them, nothing ever happens', t => {
  let state = initialStandbys(undefined);
  for (const happening of ready) {
    const [after, actions] = standbyStep(state, happening);
    t.strictSame(actions, []);
    state = after;
  }
  t.end();
});

t.test('whatever happens, each group is taken over or discarded once, and none is left', t => {
  const groupOf = fc.integer({ min: 0, max: 8 }).map(at => first + at);
  const round = fc.integer({ min: 0, max: 3 });
  const happening: fc.Arbitrary<StandbyHappening> = fc.oneof(
    fc.record({ event: fc.constant('round-runs' as const), round, isLast: rarely() }),
    fc.constant({ event: 'round-over' as const }),
    fc.constant({ event: 'prestart' as const }),
    fc.record({ event: fc.constant('due' as const), round }),
    fc.record({ event: fc.constant('overdue' as const), group: groupOf }),
    fc.record({ event: fc.constant('started' as const), group: groupOf }),
    fc.record({
      event: fc.constant('parked' as const),
      group: groupOf,
      localRank: fc.integer({ min: 0, max: 1 }),
    }),
    fc.record({ event: fc.constant('lost' as const), group: groupOf, reason: fc.constant('x') }),
    fc.record({ event: fc.constant('unable' as const), group: groupOf, reason: fc.constant('x') }),
    fc.constant({ event: 'hold' as const, reason: 'x' }),
    fc.constant({ event: 'release' as const }),
    fc.constant({ event: 'take' as const }),
    fc.constant({ event: 'take' as const, unfit: 'x' }),
  );

  fc.assert(
    fc.property(fc.array(happening, { maxLength: 60 }), fc.boolean(), (happenings, prestarts) => {
      let state = initialStandbys({ ...policy, prestarts });
      const alive = new Set<number>();
      let troubles = 0;
      for (const each of [...happenings, { event: 'close' as const }]) {
        const mayTake = mayBeTaken(state);
        const [after, actions] = standbyStep(state, each);
        state = after;
        for (const action of actions) {
          if (action.do === 'make' || action.do === 'prove') {
            if (alive.size > 0) return false;
            alive.add(action.group);
          }
          if (action.do === 'take-over' && !mayTake) return false;
          if (action.do === 'take-over' || action.do === 'discard') {
            if (!alive.delete(action.group)) return false;
          }
          const isOfSome = ['take', 'lost', 'hold'].includes(each.event);
          if (action.do === 'tell-trouble' && !isOfSome) troubles++;
        }
      }
      return alive.size === 0 && troubles <= 1 && state.phase === 'off';
    }),
    { numRuns: 2000 },
  );
  t.end();
});

function rarely(): fc.Arbitrary<boolean> {
  return fc.integer({ min: 0, max: 9 }).map(number => number === 0);
}
