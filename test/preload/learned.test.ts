import t from 'tap';
import { actsOf, isUnsafe, learnedFrom, modulesOf } from '../../lib/preload/learned.js';

function record(...lines: readonly string[]): string {
  return ['shim 3.12.1', ...lines, ''].join('\n');
}

t.test(
  'what a script does before its last import is kept in its order, and nothing behind it',
  async t => {
    const learned = learnedFrom(
      record(
        'module json',
        'set A=1=2',
        'unset B',
        'own 5:7 /a b/train.py',
        'module torch.nn',
        'end it sets X after it has read RANK',
        'set LATE=1',
      ),
    );

    t.strictSame(learned, {
      acts: [
        ['module', 'json'],
        ['set', 'A=1=2'],
        ['unset', 'B'],
        ['module', 'torch.nn'],
      ],
      own: [{ path: '/a b/train.py', mark: '5:7' }],
      end: 'it sets X after it has read RANK',
    });
    t.strictSame(modulesOf(learned?.acts ?? []), ['json', 'torch.nn']);
  },
);

t.test('a line that is cut off does not count', async t => {
  t.strictSame(learnedFrom(`${record('module json')}module tor`)?.acts, actsOf(['json']));
});

t.test('a script that cannot be warm has nothing to be done beforehand', async t => {
  const learned = learnedFrom(record('module json', 'unsafe it changes dlopen flags'));

  t.strictSame(learned, { acts: [], own: [], unsafe: 'it changes dlopen flags' });
});

t.test('a file without the shim’s line proves nothing', async t => {
  for (const text of ['', 'shim 3.9', 'module json\n']) t.equal(learnedFrom(text), undefined, text);
});

t.test('what two interpreters have recorded is nobody’s', async t => {
  t.equal(learnedFrom(record('module json', 'shim 3.12.1', 'module csv')), undefined);
});

t.test('modules that are known to be unsafe are left away, with what is below them', async t => {
  const learned = learnedFrom(
    record('module mpi4py', 'module mpi4py.MPI', 'module torch', 'module torch._dynamo.config'),
  );

  t.strictSame(learned?.acts, actsOf(['torch']));
  t.notOk(isUnsafe('mpi4pyx'));
});

t.test('a list has an end', async t => {
  const names = Array.from({ length: 20_000 }, (_, at) => `module m${at}`);

  t.equal(learnedFrom(record(...names))?.acts.length, 5000);
});
