// One command of lib/ → two CommonJS files: what each start needs, and what few starts do.
//
// A file is read at each start, and V8 notes each of its functions, called or not: a millisecond for some 40 KB. So what
// lies behind an `import()` is in a second file, read with the first module of it that's needed. More files than these
// would cost more than they save.
//
// esbuild splits ES modules only, and into a file for each set of modules that go together. So it's run three times: for
// these parts, to join those that each start needs, and to join the rest. The rest is given what it shares with the first
// file, so that no module is there twice.
import { readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { build } from 'esbuild';

const common = {
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  // For those who ask for metrics; the others needn't carry it.
  external: ['prom-client'],
  // Half the bytes to compile at each start; names stay, for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  logLevel: 'warning',
};

/** Before a file's own text. */
const opening = `const __dist = require('node:url').pathToFileURL(__dirname + '/../').href;`;

/** How the first file gets a part of the second. A job may outlive its package: what it needs late is read in time. */
const late = file => `
let __later;const __late = part => (__later ??= require('./${file}')(module.exports))[part];
setTimeout(() => { try { __late() } catch {} }, 2_000).unref();`;

/**
 * Makes `FOLDER/NAME.bundle.cjs`, a function that start.cjs calls as Node calls a module, and `FOLDER/NAME.later.cjs`
 * where something may be needed late.
 *
 * @param {{root: string, entry: string, folder: string, name: string}} what `entry` from `root`
 * @returns {Promise<string>} the first one's path
 */
export async function bundleCommand({ root, entry, folder, name }) {
  const parts = await split(root, entry);
  const first = join(folder, `${name}.bundle.cjs`);
  const later = join(folder, `${name}.later.cjs`);
  await joinParts(parts, {
    outfile: first,
    contents: [
      ...parts.shared.map(part => `export * as ${idOf(part)} from './${part}';`),
      `import './${parts.main}';`,
    ].join('\n'),
    // Node's own wrapper would be put around a copy of the text.
    banner: `(function (exports, require, module, __filename, __dirname) {'use strict';${opening}${
      parts.late.length > 0 ? late(basename(later)) : ''
    }`,
    footer: '})',
    elsewhere: part => !parts.first.has(part) && `module.exports = __late('${idOf(part)}');`,
  });
  if (parts.late.length === 0) return first;
  await joinParts(parts, {
    outfile: later,
    contents: `module.exports = {${parts.late.map(part => `get ${idOf(part)}() { return require('./${part}'); }`)}};`,
    banner: `'use strict';module.exports = __first => {const module = { exports: {} };${opening}`,
    footer: 'return module.exports;};',
    elsewhere: part => parts.first.has(part) && `module.exports = __first.${idOf(part)};`,
  });
  return first;
}

/**
 * @returns `texts` of parts by their names; `main`; `first`, which each start needs; `late`, which it asks for late, and
 *   `shared`, which these need of the first
 */
async function split(root, entry) {
  const outdir = join(root, 'dist/bin');
  const { outputFiles, metafile } = await build({
    ...common,
    absWorkingDir: root,
    entryPoints: [entry],
    outdir,
    write: false,
    metafile: true,
    splitting: true,
    format: 'esm',
    sourcemap: 'inline',
    plugins: [moduleUrls(root)],
  });
  const texts = new Map(outputFiles.map(({ path, text }) => [basename(path), text]));
  const outputs = new Map(
    Object.entries(metafile.outputs).map(([path, output]) => [basename(path), output]),
  );
  const needs = (part, kind) =>
    outputs
      .get(part)
      .imports.filter(each => each.kind === kind && !each.external)
      .map(each => basename(each.path));
  const first = new Set();
  const add = part => {
    if (first.has(part)) return;
    first.add(part);
    needs(part, 'import-statement').forEach(add);
  };
  const main = basename(entry).replace(/ts$/, 'js');
  add(main);
  // A module that some import at once and others late has a part of its own, with nothing in it but names.
  for (const [part, { inputs }] of outputs) {
    const isThere = needs(part, 'import-statement').every(each => first.has(each));
    if (Object.keys(inputs).length === 0 && isThere) first.add(part);
  }
  const among = part => [...needs(part, 'import-statement'), ...needs(part, 'dynamic-import')];
  const rest = [...outputs.keys()].filter(part => !first.has(part));
  const late = [...first].flatMap(part => needs(part, 'dynamic-import'));
  return {
    texts,
    main,
    first,
    late: [...new Set(late)].filter(part => !first.has(part)),
    shared: [...new Set(rest.flatMap(among))].filter(part => first.has(part)),
  };
}

/** Makes one file of `contents` and the parts that it needs. @param elsewhere how to get one that isn't in it */
async function joinParts({ texts }, { outfile, contents, banner, footer, elsewhere }) {
  await build({
    ...common,
    stdin: { contents },
    outfile,
    format: 'cjs',
    // What V8 has compiled beforehand can't import.
    supported: { 'dynamic-import': false },
    sourcemap: 'external',
    legalComments: 'eof',
    banner: { js: banner },
    footer: { js: footer },
    plugins: [
      {
        name: 'parts',
        setup(build) {
          build.onResolve({ filter: /^\.\// }, ({ path }) => ({
            path: path.slice(2),
            namespace: 'part',
          }));
          build.onLoad({ filter: /./, namespace: 'part' }, ({ path }) => ({
            contents: elsewhere(path) || texts.get(path),
          }));
        },
      },
    ],
  });
}

const idOf = part => part.replace(/\W/g, '_');

/**
 * In a bundle `import.meta.url` says what it would say in dist/: the place of that module's own file. So whatever a module
 * finds beside itself, it finds from the command too.
 */
const moduleUrls = root => ({
  name: 'module-urls',
  setup(build) {
    build.onLoad({ filter: /[\\/]lib[\\/].*\.ts$/ }, ({ path }) => {
      const own = relative(join(root, 'lib'), path).replace(/\.ts$/, '.js');
      const source = readFileSync(path, 'utf8');
      return {
        contents: source.replaceAll('import.meta.url', `(__dist + ${JSON.stringify(own)})`),
        loader: 'ts',
      };
    });
  },
});
