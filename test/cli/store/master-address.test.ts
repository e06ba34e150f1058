import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CliOptions, runCli, startCli } from '../../harness.js';

// What a master address means, and who has it already.

t.setTimeout(120_000);

const isRoot = process.getuid?.() === 0;
const sh = (script: string): readonly string[] => ['--no-python', 'sh', '-c', script];
const tellsAddress = sh('echo at $MASTER_ADDR');

t.test('F-F10 a master address that cannot be resolved ends the job before it starts', async t => {
  const args = ['--master-addr=nosuch.invalid', '--master-port=29613', ...tellsAddress];
  const ended = await runCli(t, args);

  t.match(ended, { code: 1, signal: null, stdout: '' });
  t.match(
    ended.stderr,
    /^regroup: error: cannot serve the store at nosuch\.invalid: the name can't be resolved here [^\n]+\n$/,
  );
});

t.test('a name of this machine is looked up, and workers get it as it was given', async t => {
  const args = ['--master-addr=LOCALHOST', '--master-port=0', ...tellsAddress];
  const ended = await runCli(t, args);

  t.match(ended, { code: 0, stdout: 'at LOCALHOST\n', stderr: '' });
});

/** In front of a command: its name service is at 127.0.0.99, as /etc/resolv.conf says for it alone. */
function askingSilence(t: Test): CliOptions {
  const resolv = join(t.testdir({ 'resolv.conf': 'nameserver 127.0.0.99\n' }), 'resolv.conf');
  const mounts = `mount --bind ${resolv} /etc/resolv.conf && exec "$@"`;
  return { under: ['unshare', '--mount', 'sh', '-c', mounts, 'sh'] };
}

t.test(
  'a name service that never answers',
  { skip: isRoot ? false : 'needs root: port 53, and a mount' },
  async t => {
    const silent = createSocket('udp4');
    silent.bind(53, '127.0.0.99');
    await once(silent, 'listening');
    t.teardown(() => silent.close());
    const args = ['--master-addr=some.example', '--master-port=29613', ...tellsAddress];

    t.test('F-F10 a stop is heard while a name is being looked up', async t => {
      const run = startCli(t, args, askingSilence(t));
      await once(silent, 'message');
      run.kill('SIGTERM');

      t.match(await run.ended, { code: 1, signal: null, stdout: '' });
    });

    t.test('F-F10 it is waited for ten seconds, and then the job ends', async t => {
      const { env } = { env: { RES_OPTIONS: 'timeout:30 attempts:5' } };
      const ended = await runCli(t, args, { ...askingSilence(t), env });

      t.match(ended, { code: 1, signal: null, stdout: '' });
      t.match(
        ended.stderr,
        /^regroup: error: cannot serve the store at some\.example: the name service has not answered for 10 s; [^\n]+\n$/,
      );
    });
  },
);

t.test('F-N08 somebody else at ::1 has the port of localhost, and is named', async t => {
  const stranger = createServer(() => t.fail('a worker came to the stranger'));
  stranger.listen(0, '::1');
  try {
    await once(stranger, 'listening');
  } catch {
    t.plan(0, 'no IPv6 here');
    return;
  }
  t.teardown(() => stranger.close());
  const { port } = stranger.address() as { port: number }; // it listens at TCP

  for (const address of ['localhost', '127.0.0.1']) {
    const args = [`--master-addr=${address}`, `--master-port=${port}`, ...tellsAddress];
    const ended = await runCli(t, args);

    t.match(ended, { code: 1, signal: null, stdout: '' });
    t.match(
      ended.stderr,
      new RegExp(
        `^regroup: error: cannot serve the store at ${address}:${port}: the port is in use by \\S+ \\(pid ${process.pid}\\); [^\\n]+\\n$`,
      ),
    );
  }
});

t.test('a range of ports that others have all of is told', async t => {
  // Two that follow each other, and that nobody else has.
  const two: Server[] = [];
  t.teardown(() => {
    for (const server of two) server.close();
  });
  let first = 0;
  while (two.length < 2) {
    for (const server of two.splice(0)) server.close();
    const lower = createServer().listen(0, '127.0.0.1');
    await once(lower, 'listening');
    first = (lower.address() as AddressInfo).port;
    const upper = createServer().listen(first + 1, '127.0.0.1');
    const isThere = await once(upper, 'listening').then(
      () => true,
      () => false,
    );
    two.push(lower, ...(isThere ? [upper] : []));
  }

  const range = `${first}-${first + 1}`;
  const { code, stderr } = await runCli(t, [
    '--standalone',
    `--port-range=${range}`,
    ...tellsAddress,
  ]);

  t.equal(code, 1);
  const why = `no port from ${first} to ${first + 1} is free; give a wider range`;
  t.equal(stderr, `regroup: error: cannot serve the store at 127.0.0.1: ${why}\n`);
});
