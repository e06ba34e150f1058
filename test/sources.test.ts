import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
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

t.test('the steps of a start are the same in C++ and in TypeScript', async t => {
  const rows = readFileSync('native/core/spawn/steps.h', 'utf8').matchAll(
    /\{StartStep::\w+, "([\w-]+)"/g,
  );
  const type = /export type NativeStep =([^;]*);/.exec(
    readFileSync('lib/native/events.ts', 'utf8'),
  )?.[1];
  const words = [...(type ?? '').matchAll(/\| '([\w-]+)'/g)];

  t.ok(words.length > 10);
  t.strictSame(
    words.map(([, word]) => word),
    [...rows].map(([, name]) => name),
  );
});

/** Of lib/, from below: a module imports from its own layer and from those before it. */
const layers: readonly (readonly string[])[] = [
  ['util'],
  ['errors', 'exit-codes'],
  ['native'],
  ['system'],
  ['options'],
  ['events', 'worker-exit'],
  ['machine', 'gpu'],
  [
    'failures',
    'hangs',
    'timers',
    'health',
    'control',
    'logs',
    'placement',
    'preload',
    'store',
    'coordination',
  ],
  ['rendezvous'],
  ['workers'],
  ['observe'],
  ['agent'],
  ['launch', 'own-process'],
  // What a program imports, and what people type.
  ['index', 'store-index', 'cli'],
];

/** The imports of each module of lib/, by paths without `lib/` and `.ts`. @param typesToo whether those of types count */
function imports({ typesToo = true } = {}): ReadonlyMap<string, readonly string[]> {
  const paths = readdirSync('lib', { recursive: true, encoding: 'utf8' });
  const modules = paths.filter(path => path.endsWith('.ts'));
  return new Map(
    modules.map(path => {
      const whole = readFileSync(join('lib', path), 'utf8');
      const source = typesToo ? whole : whole.replace(/^import type [^;]*;/gm, '');
      const found = source.matchAll(/(?:from |import\()'(\.[^']+)\.js'/g);
      const imported = [...found].map(([, to = '']) => join(dirname(path), to));
      return [path.slice(0, -'.ts'.length), imported];
    }),
  );
}

t.test('imports of lib/ never go up', async t => {
  const layerOf = (module: string): number => {
    // lib/store.ts is what `regroup/store` gives; the folder beside it is where it comes from.
    const room = module === 'store' ? 'store-index' : (module.split('/', 1)[0] ?? '');
    return layers.findIndex(layer => layer.includes(room));
  };
  for (const [module, imported] of imports()) {
    t.not(layerOf(module), -1, `${module} is in a layer`);
    const above = imported.filter(other => layerOf(other) > layerOf(module));
    t.strictSame(above, [], `${module} imports nothing from above`);
  }
});

/** What the commands need of the layers below `launch()`, and a program that calls it doesn't. */
const belowLaunch = [
  // launch() has thrown, and torchrun's main is recorded even so
  'failures/own-error-file',
  // our own words, in turn with the workers'
  'logs/console',
  // regroup-store, which launches nothing
  'store/master-hosts',
  'store/open-table',
  // files of runs that may be over
  'observe/timeline/records',
  'observe/timeline/timeline',
  // other runs than this process's own
  'control/find',
  // how we were started, and the time of day: of the process, not of a run
  'system/exact',
  'system/local-time',
];

t.test('the command line is a caller of launch(), as any program', async t => {
  const isBelow = (module: string): boolean =>
    /^(?!cli|options|util)\w+\//.test(module) && !belowLaunch.includes(module);
  for (const [module, imported] of imports({ typesToo: false })) {
    if (!module.startsWith('cli/')) continue;
    t.strictSame(imported.filter(isBelow), [], module);
  }
});

/** What uses Node's pool of threads with no look at whether they can be had: its callers have looked, or supervise nobody. */
const poolIsThere = [
  // meet-etcd, which looks up the endpoint
  'coordination/etcd/options',
  // connections to names, whose callers look
  'system/names',
  // serveControl(); and commands that look for runs
  'control/folder',
  'control/find',
  // a command that reads files, and launches nothing
  'cli/timeline/lines',
  // what commands say that launch nothing
  'cli/process/console',
];

/** What a module imports that goes through the pool. */
function poolUsesOf(source: string): readonly string[] {
  const whole = source.match(/'node:(fs\/promises|dns|dns\/promises|zlib)'/g) ?? [];
  const [, names = ''] = /import \{([^}]*)\} from 'node:fs'/.exec(source) ?? [];
  const functions = names.split(',').map(name => name.trim());
  const waits = functions.filter(name => /^(?!type |constants|watch$)\w+(?<!Sync)$/.test(name));
  return [...whole, ...waits];
}

t.test('libuv ends no agent for want of a thread', async t => {
  for (const module of imports().keys()) {
    const source = readFileSync(`lib/${module}.ts`, 'utf8');
    if (poolUsesOf(source).length === 0 || poolIsThere.includes(module)) continue;
    t.match(source, /\bneedPool\(\)/, module);
  }
});

t.test('no modules of lib/ import each other', async t => {
  const all = imports();
  const seen = new Set<string>();
  const visit = (module: string, path: readonly string[]): void => {
    if (path.includes(module)) t.fail([...path.slice(path.indexOf(module)), module].join(' -> '));
    if (seen.has(module)) return;
    seen.add(module);
    for (const other of all.get(module) ?? []) visit(other, [...path, module]);
  };
  for (const module of all.keys()) visit(module, []);
  t.equal(seen.size, all.size);
});

t.test('files of lib/ can be read in one go', async t => {
  for (const module of imports().keys()) {
    const lines = readFileSync(`lib/${module}.ts`, 'utf8').split('\n').length;
    t.ok(lines <= 400, `${module}: ${lines} lines`);
  }
});

for (const top of ['lib', 'test']) {
  t.test(`folders of ${top}/ can be looked through`, async t => {
    const paths = readdirSync(top, { recursive: true, encoding: 'utf8' });
    const folders = new Map<string, number>();
    for (const path of paths.filter(path => path.endsWith('.ts'))) {
      const folder = join(top, dirname(path));
      folders.set(folder, (folders.get(folder) ?? 0) + 1);
    }
    for (const [folder, files] of folders) t.ok(files <= 15, `${folder}: ${files} files`);
  });
}

t.test('what the documentation names is there', async t => {
  const pages = readdirSync('docs').map(name => `docs/${name}`);
  for (const page of [
    'README.md',
    'CONTRIBUTING.md',
    ...pages.filter(path => /\.md$/.test(path)),
  ]) {
    const named = readFileSync(page, 'utf8').matchAll(
      /`((?:lib|native|test|bench|scripts|python|examples)\/[\w./-]+)`/g,
    );
    for (const [, path = ''] of named) {
      // SUBJECT stands for any.
      if (!path.includes('SUBJECT')) t.ok(existsSync(path), `${page}: ${path}`);
    }
  }
});
