import { spawnSync } from 'node:child_process';
import t from 'tap';
import { inAscii } from '../../../lib/agent/pauses/shell-call.js';

/** What the script prints, in Latin-1. */
function run(call: Parameters<typeof inAscii>[0]): string {
  const { script, env, cwd } = inAscii(call);
  const { stdout } = spawnSync('/bin/sh', ['-c', script], { env, cwd, encoding: 'latin1' });
  return stdout;
}

t.test('a call that is UTF-8 stays as it is', t => {
  const call = { script: "echo 'é'", env: { A: 'é' }, cwd: '/tmp' };
  t.strictSame(inAscii(call), call);
  t.end();
});

t.test('F-F02 what a script is given beyond that reaches it, byte by byte', t => {
  const path = t.testdir({});
  const script = `mkdir "$DIR"; cd "$DIR"; printf %s "$PWD|$QUOTED|$PLAIN|caf\uDCE9"; exit 3`;
  const env = {
    PATH: process.env.PATH,
    DIR: `${path}/d\uDCFC`,
    QUOTED: `it's "\uDCE9" $HOME \\0101 %s\n`,
    PLAIN: 'é',
    'odd\uDCE9name': '1',
  };
  t.equal(
    run({ script, env, cwd: undefined }),
    `${path}/d\xfc|it's "\xe9" $HOME \\0101 %s\n|\xc3\xa9|caf\xe9`,
  );
  t.equal(run({ script: 'printf %s "$PWD"', env, cwd: `${path}/d\uDCFC` }), `${path}/d\xfc`);
  t.end();
});
