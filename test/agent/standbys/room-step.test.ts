import fc from 'fast-check';
import t from 'tap';
import {
  initialRoom,
  type RoomAction,
  type RoomHappening,
  roomStep,
} from '../../../lib/agent/standbys/room-step.js';

function played(happenings: readonly RoomHappening[]): readonly string[] {
  let state = initialRoom;
  const done: string[] = [];
  for (const happening of happenings) {
    const [after, actions] = roomStep(state, happening, 10);
    state = after;
    done.push(...actions.map(wordOf));
  }
  return done;
}

function wordOf(action: RoomAction): string {
  switch (action.do) {
    case 'look':
      return `look ${action.turn}`;
    case 'arm':
      return `arm ${action.turn}: ${action.afterMs}`;
    case 'hold':
      return `hold: ${action.reason}`;
    default:
      return action.do;
  }
}

const asked: RoomHappening = { event: 'asked' };
const pressure: RoomHappening = { event: 'pressure' };
const quiet = (turn: number): RoomHappening => ({ event: 'quiet', turn });
const looked = (turn: number, why?: string): RoomHappening => ({
  event: 'looked',
  turn,
  ...(why === undefined ? {} : { why }),
});
const waits = 'hold: tasks wait for memory';

const cases: readonly [title: string, happenings: readonly RoomHappening[], done: string[]][] = [
  ['standbys are made where a look shows room', [asked, looked(0)], ['look 0', 'make']],
  [
    'where it shows none they are made when it is there',
    [asked, looked(0, 'full'), quiet(1), looked(1, 'full'), quiet(2), looked(2)],
    ['look 0', 'hold: full', 'arm 1: 10', 'look 1', 'arm 2: 10', 'look 2', 'release'],
  ],
  [
    'under pressure they go, and come back once it has been quiet',
    [pressure, pressure, quiet(1), quiet(2), looked(2)],
    [waits, 'arm 1: 10', 'arm 2: 10', 'look 2', 'release'],
  ],
  [
    'a look that pressure has overtaken counts no more',
    [asked, pressure, looked(0), quiet(1), pressure, looked(1), quiet(2), looked(2)],
    ['look 0', waits, 'arm 1: 10', 'look 1', 'arm 2: 10', 'look 2', 'release'],
  ],
  [
    'while there is no room nobody looks for those who ask',
    [pressure, asked],
    [waits, 'arm 1: 10'],
  ],
  [
    'each time that room was short the pause is longer',
    [pressure, quiet(1), looked(1), pressure, quiet(2), looked(2), pressure],
    [
      ...[waits, 'arm 1: 10', 'look 1', 'release'],
      ...[waits, 'arm 2: 20', 'look 2', 'release'],
      ...[waits, 'arm 3: 40'],
    ],
  ],
];

for (const [title, happenings, done] of cases) {
  t.test(`room: ${title}`, t => {
    t.strictSame(played(happenings), done);
    t.end();
  });
}

t.test(
  'room: whatever happens, hold and release take turns, none is made while held, and a pause has an end',
  t => {
    const turn = fc.integer({ min: 0, max: 9 });
    const happening: fc.Arbitrary<RoomHappening> = fc.oneof(
      fc.constant(asked),
      fc.constant(pressure),
      turn.map(quiet),
      turn.map(at => looked(at)),
      turn.map(at => looked(at, 'full')),
    );
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60 }), happenings => {
        let state = initialRoom;
        let isHeld = false;
        for (const each of happenings) {
          const [after, actions] = roomStep(state, each, 10);
          state = after;
          for (const action of actions) {
            if (action.do === 'hold' ? isHeld : action.do === 'release' && !isHeld) return false;
            if (action.do === 'hold' || action.do === 'release') isHeld = action.do === 'hold';
            if (action.do === 'make' && isHeld) return false;
            if (action.do === 'arm' && !(action.afterMs >= 10 && action.afterMs <= 160))
              return false;
          }
          const [, ends] = roomStep(state, { event: 'quiet', turn: state.turn }, 10);
          if (isHeld && ends[0]?.do !== 'look') return false;
        }
        return true;
      }),
      { numRuns: 2000 },
    );
    t.end();
  },
);
