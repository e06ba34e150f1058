import t, { type Test } from 'tap';
import { startProgram } from './harness.js';

/** What a program prints that has `print`; a console at a pipe would load node:net itself. */
async function printed(t: Test, source: string): Promise<string> {
  const program = `import { writeSync } from 'node:fs'; const print = text => writeSync(1, String(text)); ${source}`;
  const { stdout, stderr } = await startProgram(t, [
    process.execPath,
    '--input-type=module',
    '-e',
    program,
  ]).ended;
  t.equal(stderr, '');
  return stdout;
}

const isNetLoaded = `process.moduleLoadList.includes('NativeModule net')`;

t.test('importing regroup loads no sockets', async t => {
  t.equal(await printed(t, `await import('regroup'); print(${isNetLoaded});`), 'false');
});

t.test(
  'a program sees the machine, and tells how a worker has ended, as the command does',
  async t => {
    const source = `
    const { describeExit, inspectMachine } = await import('regroup');
    const { cpus, nodes } = await inspectMachine();
    print(cpus !== '' && nodes.length > 0 && describeExit({ how: 'exited', code: 3 }));`;

    t.equal(await printed(t, source), 'exited with code 3');
  },
);

for (const name of ['regroup', 'regroup/store']) {
  t.test(`connectStore of ${name} connects, and fails as both do`, async t => {
    const connect = `
      const { connectStore, RegroupError } = await import('${name}');
      const options = { host: '127.0.0.1', port: 1, timeoutMs: 1 };
      await connectStore(options).catch(error => print(error instanceof RegroupError && error.code));`;

    t.equal(await printed(t, connect), 'ERR_STORE_CONNECT');
  });
}
