import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';

// Each native test is a program that prints TAP; tap reads it as if it were written here.
const build = process.env.REGROUP_NATIVE_TESTS ?? 'build/native-tests';
const replay = process.env.REGROUP_FUZZ_REPLAY !== undefined;

function programs(ending: string): string[] {
  const names = existsSync(build) ? readdirSync(build) : [];
  return names
    .filter(name => name.endsWith(ending))
    .filter(name => {
      accessSync(join(build, name), constants.X_OK);
      return true;
    })
    .sort();
}

// All of them together take minutes under a sanitizer; each has a limit of its own.
t.setTimeout(1_700_000);

const env = { ...process.env };
// What tap adds for Node's sake is in the way of tests that count variables and descriptors.
for (const name of Object.keys(env)) if (/^_?TAP|^NODE_OPTIONS$/.test(name)) delete env[name];

for (const name of programs(replay ? '_fuzz' : '_test')) {
  const corpus = join('test/fuzz/corpus', name.replace(/_fuzz$/, ''));
  t.spawn(
    join(build, name),
    replay ? [corpus] : [],
    { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 600_000 },
    name,
  );
}
t.ok(programs(replay ? '_fuzz' : '_test').length > 0, `there are native tests in ${build}`);
