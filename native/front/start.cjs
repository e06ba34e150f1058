// What Node runs as a command: the bundle beside this file, compiled beforehand where compile.cjs has done that for this
// very Node. docs/starting.md tells what it saves. The build puts `bundleId` before it.
const { readFileSync, statSync, writeSync } = require('fs');
const { wrap } = require('module');
const { Script } = require('vm');

const place = __filename.replace(/\.cjs$/, '');
const filename = `${place}.bundle.cjs`;
const script = new Script(wrap(readBundle()), { filename, cachedData: readCompiled() });
script.runInThisContext().call({}, {}, require, module, __filename, __dirname);

// For compile.cjs.
module.exports = { script, compiledFile, sumOf };

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
    const bytes = readFileSync(compiled);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    const last = words.length - 1;
    // V8 looks at versions and lengths only, and crashes over a byte that has changed.
    return sumOf(words.subarray(0, last)) === words[last] ? bytes.subarray(0, -4) : undefined;
  } catch (error) {
    return undefined;
  }
}

/** Fletcher's, of words. */
function sumOf(words) {
  let sum = 1;
  let sums = 0;
  for (let i = 0; i < words.length; i++) {
    sum = (sum + words[i]) | 0;
    sums = (sums + sum) | 0;
  }
  return sums;
}
