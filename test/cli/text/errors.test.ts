import t from 'tap';
import { describeError } from '../../../lib/cli/text/errors.js';
import { valueError } from '../../../lib/errors.js';

t.test('an error about an option names the flag that gives it', async t => {
  const cases: readonly [option: string, said: string][] = [
    ['maxRestarts', '--max-restarts'],
    ['gpuWaitMs', '--gpu-wait'],
    ['shutdownTimeoutMs', '--shutdown-timeout'],
    ['logDir', '--log-dir'],
    // No flag is called so.
    ['hang', 'hang'],
  ];
  for (const [option, said] of cases) {
    const text = describeError('regroup', valueError(option, -1, 'a number'));

    t.match(text, new RegExp(`^regroup: error: ${said}: `));
  }
});

t.test('what nobody has foreseen is told with its place', async t => {
  const text = describeError('regroup', new Error('why'));

  t.match(text, /^regroup: internal error: Error: why at .*errors\.test\..*; please report it$/);
});
