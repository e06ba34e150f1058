import t from 'tap';
import { exactArgs, exactEnv } from '../../lib/system/exact.js';

/** What /proc/self has, written in Latin-1. */
function own(...entries: readonly string[]) {
  return () => Buffer.from(entries.map(entry => `${entry}\0`).join(''), 'latin1');
}

t.test('F-F02 an environment that is UTF-8 is taken as Node has it', t => {
  const env = { A: 'é' };
  t.equal(
    exactEnv(env, () => Buffer.from('A=é\0')),
    env,
  );
  t.equal(
    exactEnv(env, () => undefined),
    env,
    'or where nobody can tell',
  );
  t.end();
});

t.test('F-F02 bytes of values and names are told', t => {
  const read = own('A=1', 'DATA=caf\xe9', 'N\xe9=x\xe9=y', 'nothing\xe9', 'DATA=second\xe9');
  t.strictSame(exactEnv({ A: '1', DATA: 'caf\uFFFD' }, read), {
    A: '1',
    DATA: 'caf\uDCE9',
    'N\uDCE9': 'x\uDCE9=y',
  });
  t.end();
});

t.test('F-F02 what a program has changed of its environment stays changed', t => {
  const read = own('A=1\xe9', 'B=2\xe9', 'C=3\xe9');
  t.strictSame(exactEnv({ A: 'new', C: '3\uFFFD', D: '4' }, read), {
    A: 'new',
    C: '3\uDCE9',
    D: '4',
  });
  t.end();
});

t.test('F-H4 arguments are the last of the command line', t => {
  const read = own('node', '--flag', 'script\xe9', 'a', 'b\xe9', '');
  t.strictSame(exactArgs(['/usr/bin/node', '/x/script\uFFFD', 'a', 'b\uFFFD', ''], read), [
    'a',
    'b\uDCE9',
    '',
  ]);
  t.strictSame(
    exactArgs(['node', 'script', 'b\uFFFD'], () => undefined),
    ['b\uFFFD'],
  );
  t.end();
});
