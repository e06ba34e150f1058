// What Node runs as a command: the bundle beside this file, compiled beforehand where compile.cjs has done that for this
// very Node. docs/starting.md tells what it saves. The build puts `bundleId` before it.
const { readFileSync } = require('fs');
const { wrap } = require('module');
const { Script, constants } = require('vm');

const place = __filename.replace(/\.cjs$/, '');
const filename = `${place}.bundle.cjs`;
const compiled = `${place}.${bundleId}-${process.version}-${process.arch}.compiled`;
const script = new Script(wrap(readFileSync(filename, 'latin1')), {
  filename,
  cachedData: readCompiled(),
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
});
script.runInThisContext().call({}, {}, require, module, __filename, __dirname);

// For compile.cjs.
module.exports = { script, compiled, sumOf };

/** What V8 made of the bundle. It refuses what was made with other flags of its own, and compiles then. */
function readCompiled() {
  try {
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
