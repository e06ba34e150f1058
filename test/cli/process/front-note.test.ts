import t from 'tap';
import { type CliSettings, withoutIgnored } from '../../../lib/cli/line/settings.js';
import { readNote } from '../../../lib/cli/process/front-note.js';

t.test('without the front program nothing is known', t => {
  const env = { A: '1', NODE_OPTIONS: '--x' };
  t.same(readNote(env, 7), { env, ignored: [] });
  t.end();
});

t.test('the note is read, and taken out of the environment', t => {
  const env = {
    REGROUP_FRONT: '7 80000201 4000 1024',
    A: '1',
    REGROUP_FRONT_NODE_OPTIONS: '--x',
    REGROUP_FRONT_NODE_: 'odd',
    REGROUP_FRONTIER: 'ours too',
    REGROUP_FRONT_DOOR: "nobody's",
  };
  t.strictSame(readNote(env, 7), {
    env: {
      A: '1',
      NODE_OPTIONS: '--x',
      NODE_: 'odd',
      REGROUP_FRONTIER: 'ours too',
      REGROUP_FRONT_DOOR: "nobody's",
    },
    ignored: ['SIGHUP', 'SIGUSR1'],
    startedWith: { ignoredSignals: [1, 10, 32], blockedSignals: [15], nofileSoft: 1024 },
  });
  t.end();
});

t.test('all 64 signals have a bit, and no limit is no number', t => {
  const env = { REGROUP_FRONT: '7 ffffffffffffffff 8000000000000000 18446744073709551615' };
  const { startedWith } = readNote(env, 7);
  t.equal(startedWith?.ignoredSignals.length, 64);
  t.same(startedWith?.blockedSignals, [64]);
  t.notHas(startedWith, { nofileSoft: Number });
  t.end();
});

t.test("another process's note is nobody's", t => {
  for (const note of ['8 1 0 1024', '', '7 1 0', '7 x 0 1024']) {
    const env = { REGROUP_FRONT: note, A: '1', REGROUP_FRONT_NODE_PATH: '/x' };
    t.strictSame(readNote(env, 7), { env: { A: '1', NODE_PATH: '/x' }, ignored: [] }, note);
  }
  t.end();
});

t.test(
  'F-H1 of the signals that are handled, those that were ignored stay so unless an option names them',
  t => {
    const settings = {
      signalsToHandle: ['SIGTERM', 'SIGINT', 'SIGHUP'],
      namedSignals: ['SIGINT', 'SIGUSR1'],
    } as unknown as CliSettings; // the others don't matter
    const handled = withoutIgnored(settings, ['SIGINT', 'SIGHUP', 'SIGUSR1']).signalsToHandle;
    t.same(handled, ['SIGTERM', 'SIGINT']);
    t.end();
  },
);
