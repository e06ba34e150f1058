import t from 'tap';
import {
  describeRestarted,
  describeSummary,
  parseRestarted,
} from '../../../lib/cli/text/restarts.js';

t.test('the whole milliseconds of the phases add up to those of the restart', async t => {
  const phases = { noticed: 0.4, stopped: 38.4, rendezvous: 12.4, started: 9.4, script: 351.4 };

  const line = describeRestarted({ phases });

  t.equal(
    line,
    'restarted in 412 ms: noticed 0 · stopped 39 · rendezvous 12 · started 10 · script 351',
  );
});

t.test('phases that did not take place are left out', async t => {
  const line = describeRestarted({ phases: { stopped: 3, paused: 2000, started: 9 } });

  t.equal(line, 'restarted in 2012 ms: stopped 3 · paused 2000 · started 9');
});

t.test('the line can be read back', async t => {
  const phases = { noticed: 1, stopped: 38, paused: 5, rendezvous: 12, started: 9, script: 352 };

  t.strictSame(parseRestarted(`regroup: ${describeRestarted({ phases })}`), phases);
  for (const other of [
    '',
    'regroup: restarted',
    'restarted in 1 ms: started 1',
    'regroup: logs: /x',
  ])
    t.equal(parseRestarted(other), undefined, other);
});

t.test('restarts are summed up by cause, and training is rounded down', async t => {
  const summary = {
    restarts: 3,
    byCause: { failure: 2, 'peer-lost': 1 },
    lostMs: 1234,
    trainedMs: 59_990,
    wallMs: 60_000,
    effectiveRatio: 0.99983,
  } as const;

  t.equal(
    describeSummary(summary),
    '3 restarts (2 × failure, 1 × lost node) took 1.2 s; the workers trained for 99.9 % of 1 min 00 s',
  );
});
