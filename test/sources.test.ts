import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';

interface SourceLists {
  readonly variables: {
    readonly core_files: string[];
    readonly shm_library_files: string[];
    readonly front_files: string[];
    readonly guardian_files: string[];
    readonly early_library_files: string[];
    readonly exit_guard_library_files: string[];
    readonly addon_files: string[];
  };
}

// gyp would read more than JSON; CMake doesn't, and neither does this.
const lists = JSON.parse(readFileSync('native/sources.gypi', 'utf8')) as SourceLists;

function sourcesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.cc'))
    .map(path => `${folder}/${path}`)
    .sort();
}

t.test('every core source is in the list that gyp and CMake read', async t => {
  t.same([...lists.variables.core_files].sort(), sourcesBelow('native/core'));
});

t.test("the workers' library is a part of the core", async t => {
  t.ok(lists.variables.shm_library_files.length > 0);
  for (const file of lists.variables.shm_library_files)
    t.ok(lists.variables.core_files.includes(file), file);
});

t.test('the guardian has a list of its own', async t => {
  t.same(lists.variables.guardian_files, sourcesBelow('native/guardian'));
});

t.test('so has the front program', async t => {
  t.same(lists.variables.front_files, sourcesBelow('native/front'));
});

t.test('so has each library that workers preload', async t => {
  const { early_library_files: early, exit_guard_library_files: exitGuard } = lists.variables;
  t.same([...early, ...exitGuard], sourcesBelow('native/preload'));
});

t.test('every source of the addon is in the list that gyp and CMake read', async t => {
  t.same([...lists.variables.addon_files].sort(), sourcesBelow('native/addon'));
});

t.test('the addon is built from the lists, and from nothing beside them', async t => {
  const gyp = readFileSync('binding.gyp', 'utf8');
  const cmake = readFileSync('native/CMakeLists.txt', 'utf8');

  t.match(gyp, /native\/sources\.gypi/);
  t.notMatch(gyp, /\.cc\b/);
  t.match(cmake, /sources\.gypi/);
  t.notMatch(cmake, /native\/(core|addon)\/\S+\.cc/);
});

t.test('the core knows neither Node nor libuv', async t => {
  for (const folder of readdirSync('native/core', { recursive: true, encoding: 'utf8' })) {
    if (!/\.(cc|h)$/.test(folder)) continue;
    const source = readFileSync(`native/core/${folder}`, 'utf8');
    t.notMatch(source, /#include [<"](napi|node|uv|v8)\w*\.h/, folder);
  }
});

// An unbuffered Python writes print's text and its newline apart, and another worker's come between.
t.test('fixtures write each line at once', async t => {
  for (const name of readdirSync('test/fixtures').filter(each => each.endsWith('.py'))) {
    t.notMatch(readFileSync(`test/fixtures/${name}`, 'utf8'), /\bprint\(/, name);
  }
});
