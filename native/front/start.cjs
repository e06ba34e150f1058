// What Node runs as a command: the bundle beside this file, compiled beforehand where compile.cjs has done that for this
// very Node. docs/starting.md tells what it saves. The build puts `bundleId` before it.
const { readFileSync, statSync, writeSync } = require('fs');
const { Script } = require('vm');

const place = __filename.replace(/\.cjs$/, '');
const filename = `${place}.bundle.cjs`;
const script = new Script(readBundle(), { filename, cachedData: readCompiled() });
const bundle = { exports: {} };
script.runInThisContext().call({}, bundle.exports, require, bundle, __filename, __dirname);

// For compile.cjs.
module.exports = { script, compiledFile };

function readBundle() {
  try {
    return readFileSync(filename, 'latin1');
  } catch (error) {
    const name = place.replace(/.*\//, '');
    const advice = 'raise what is exhausted, or install regroup anew';
    writeSync(2, `${name}: error: its program can't be read: ${error.message}; ${advice}\n`);
    process.exit(1);
  }
}

/** Two builds of one version of Node differ by their size, where somebody's distribution made one of them. */
function compiledFile() {
  const node = `${process.version}-${process.arch}-${statSync(process.execPath).size}`;
  return `${place}.${bundleId}-${node}.compiled`;
}

/** What V8 made of the bundle. It refuses what was made with other flags of its own, and compiles then. */
function readCompiled() {
  try {
    const compiled = compiledFile();
    // Somebody may have patched the bundle.
    if (statSync(compiled).mtimeMs < statSync(filename).mtimeMs) return undefined;
    const twice = readFileSync(compiled);
    const bytes = twice.subarray(0, twice.length / 2);
    // V8 looks at versions and lengths only, and crashes over a byte that has changed. A sum would take JavaScript longer.
    const isWhole = bytes.length > 0 && bytes.equals(twice.subarray(bytes.length));
    return isWhole ? bytes : undefined;
  } catch (error) {
    return undefined;
  }
}
