import t, { type Test } from 'tap';
import { type Action, type Seat, type SeatEvent, step } from '../../../lib/agent/seat/step.js';

// What is done for an agent of torchrun, and what it hears, with no process and no rendezvous.

const place = { groupRank: 1, groupWorldSize: 2, firstRank: 4, worldSize: 8 };
const failure = { localRank: 0, pid: 7, exitcode: 3, message: 'failed', timestamp: 1 };

const asked = (order: Extract<SeatEvent, { event: 'asked' }>['order']): SeatEvent => ({
  event: 'asked',
  order,
});
const formed = (round: number): SeatEvent => ({
  event: 'told',
  told: { event: 'round-formed', round, restartCount: round, place },
});
const broken = (
  round: number,
  because: 'peer-failure' | 'fenced' | 'membership' = 'peer-failure',
): SeatEvent => ({ event: 'told', told: { event: 'round-broken', round, because } });
const verdict = (
  what: Extract<Extract<SeatEvent, { event: 'told' }>['told'], { event: 'verdict' }>['verdict'],
): SeatEvent => ({ event: 'told', told: { event: 'verdict', round: 0, verdict: what } });
const restart = (delayMs = 0): SeatEvent =>
  verdict({ do: 'restart', round: 1, delayMs, restartsLeft: 1, maxRestarts: 2 });
const fail = verdict({ do: 'fail', because: 'no-restarts-left' });
const end = verdict({ do: 'end' });

/** What is done at each event, in a word each. */
function trace(t: Test, events: readonly SeatEvent[], expected: readonly string[]): Seat {
  let seat: Seat = { is: 'out' };
  const seen: string[] = [];
  for (const event of events) {
    const [after, actions] = step(seat, event, ({ because }) => because);
    seat = after;
    seen.push(actions.map(wordOf).join(' ') || '-');
  }
  t.strictSame(seen, expected);
  return seat;
}

function wordOf(action: Action): string {
  if (action.do !== 'hear') return action.do;
  const { heard } = action;
  return `hear:${heard.event}${heard.event === 'over' ? `-${heard.how}` : ''}`;
}

t.test("a round that others have broken is left without a failure of this node's", async t => {
  const seat = trace(
    t,
    [asked({ do: 'join' }), formed(0), broken(0), asked({ do: 'join' }), formed(1)],
    ['stop-counting join', 'hear:round', 'hear:broken', 'stop-counting join', 'hear:round'],
  );

  t.match(seat, { is: 'running', round: 1, firstRank: 4 });
});

t.test('a failure is told, and the next round is joined when the job has said so', async t => {
  trace(
    t,
    [asked({ do: 'join' }), formed(0), asked({ do: 'join', failures: [failure] }), restart()],
    ['stop-counting join', 'hear:round', 'stop-counting announce report', 'join'],
  );
});

t.test('the pause before a restart is kept', async t => {
  trace(
    t,
    [
      ...[asked({ do: 'join' }), formed(0), asked({ do: 'join', failures: [] })],
      ...[restart(500), { event: 'pause-over' } as const, { event: 'pause-over' } as const],
    ],
    [
      ...['stop-counting join', 'hear:round', 'stop-counting announce report'],
      ...['pause', 'join', '-'],
    ],
  );
});

t.test('a failure that others were faster with is told as theirs is', async t => {
  trace(
    t,
    [
      ...[asked({ do: 'join' }), formed(0), broken(0)],
      ...[asked({ do: 'join', failures: [failure] }), restart()],
    ],
    [
      ...['stop-counting join', 'hear:round', 'hear:broken'],
      ...['stop-counting announce report', 'join'],
    ],
  );
});

t.test('an agent that gives up tells its failure, and leaves whatever the job says', async t => {
  for (const [said, then] of [
    [restart(), 'leave end'],
    [fail, 'conclude end'],
  ] as const) {
    trace(
      t,
      [asked({ do: 'join' }), formed(0), asked({ do: 'end', failures: [failure] }), said],
      ['stop-counting join', 'hear:round', 'stop-counting announce report', then],
    );
  }
});

t.test("the job's failure reaches workers that run, and is told once they're gone", async t => {
  trace(
    t,
    [asked({ do: 'join' }), formed(0), fail, asked({ do: 'join' }), asked({ do: 'end' })],
    [
      ...['stop-counting join', 'hear:round', 'hear:broken'],
      ...['stop-counting conclude hear:over-failed', 'stop-counting end'],
    ],
  );
});

t.test('R-037 the exit barrier opens when the job has ended', async t => {
  trace(
    t,
    [asked({ do: 'join' }), formed(0), asked({ do: 'succeed' }), end, asked({ do: 'end' })],
    [
      ...['stop-counting join', 'hear:round', 'succeed'],
      ...['hear:released hear:over-succeeded', 'stop-counting end'],
    ],
  );
});

t.test('torchrun starts nobody again that has succeeded: its node leaves', async t => {
  const start = [asked({ do: 'join' }), formed(0)];
  trace(
    t,
    [...start, asked({ do: 'succeed' }), broken(0)],
    ['stop-counting join', 'hear:round', 'succeed', 'leave hear:released'],
  );
  trace(
    t,
    [...start, broken(0), asked({ do: 'succeed' }), asked({ do: 'end' })],
    [
      ...['stop-counting join', 'hear:round', 'hear:broken'],
      ...['stop-counting hear:released', 'stop-counting leave end'],
    ],
  );
});

t.test('R-047 behind the fence the time for torchrun to stop its workers is limited', async t => {
  trace(
    t,
    [asked({ do: 'join' }), formed(0), broken(0, 'fenced'), asked({ do: 'join' })],
    [...['stop-counting join', 'hear:round'], ...['count-down hear:broken', 'stop-counting join']],
  );
});

t.test('a signal to the agent has the node leave at once', async t => {
  trace(
    t,
    [asked({ do: 'join' }), formed(0), asked({ do: 'leave' }), broken(0), end],
    ['stop-counting join', 'hear:round', 'stop-counting leave end', '-', '-'],
  );
});

t.test('R-042 a node that the job has not needed hears of its end', async t => {
  trace(
    t,
    [asked({ do: 'join' }), end, asked({ do: 'end' })],
    ['stop-counting join', 'hear:over-succeeded', 'stop-counting end'],
  );
});

t.test('what has no use any more is told once', async t => {
  const lost = { event: 'lost', why: 'nobody answers' } as const;
  trace(
    t,
    [asked({ do: 'join' }), formed(0), lost, asked({ do: 'end' })],
    ['stop-counting join', 'hear:round', 'count-down hear:over-lost', 'stop-counting end'],
  );
  trace(
    t,
    [asked({ do: 'join' }), formed(0), asked({ do: 'succeed' }), lost, lost],
    ['stop-counting join', 'hear:round', 'succeed', 'hear:over-lost hear:released', '-'],
  );
});
