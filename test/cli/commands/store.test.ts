import { once } from 'node:events';
import { chmodSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { connectServer } from '../../../lib/coordination/server.js';
import { connectStore } from '../../../lib/store/client.js';
import { openSharedStore } from '../../../lib/store/shared.js';
import { type CliOptions, listeningSockets, runCli, startCli } from '../../harness.js';

const command: CliOptions = { command: 'regroup-store' };
const ready = /^ready (.*):(\d+)$/;

/** Resolves once somebody has accepted. */
function reaches(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port });
  return new Promise(resolve => {
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
  }).finally(() => socket.destroy()) as Promise<boolean>;
}

function parts(line: string): { host: string; port: number } {
  const [, host = '', port] = ready.exec(line) ?? [];
  return { host, port: Number(port) };
}

/** What is said where others than this machine's may come. */
const open =
  /^regroup-store: whoever reaches port \d+ of .+ can use the store, and take part in jobs that meet here, or end them; REGROUP_TOKEN or --token-file keeps others out of these\n$/;

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`regroup-store serves until ${signal}, and ends with 0`, async t => {
    const run = startCli(t, [], command);
    const { host, port } = parts(await run.line(ready));

    t.equal(host, '0.0.0.0');
    t.ok(await reaches('127.0.0.1', port), 'by IPv4');
    t.ok(await reaches('::1', port), 'by IPv6');
    run.kill(signal);
    t.match(await run.ended, {
      code: 0,
      signal: null,
      stderr: open,
      stdout: `ready 0.0.0.0:${port}\n`,
    });
    t.notOk(await reaches('127.0.0.1', port), 'nobody is left');
  });
}

t.test('regroup-store ends with 0 when the pipe at its stdin closes', async t => {
  const ended = await runCli(t, [], { ...command, stdin: 'whatever it is told\n' });

  t.match(ended, { code: 0, signal: null, stderr: open });
});

t.test('a stdin that was closed from the start has no say', async t => {
  const under = ['bash', '-c', 'exec "$@" <&-', 'bash'];
  const run = startCli(t, [], { ...command, under });
  const { port } = parts(await run.line(ready));

  t.ok(await reaches('127.0.0.1', port));
  run.kill('SIGTERM');
  t.match(await run.ended, { code: 0 });
});

t.test('T-067 it takes as many clients as the hard limit of open files allows', async t => {
  const under = ['bash', '-c', 'ulimit -Sn 64; exec "$@"', 'bash'];
  const run = startCli(t, [], { ...command, under });
  await run.line(ready);

  const limits = readFileSync(`/proc/${run.pid}/limits`, 'utf8');
  const [, soft, hard] = /^Max open files +(\d+) +(\d+)/m.exec(limits) ?? [];
  t.ok(soft);
  t.equal(soft, hard);
  run.kill('SIGTERM');
  await run.ended;
});

t.test('T-087 --host=localhost serves loopback addresses only', async t => {
  const run = startCli(t, ['--host', 'localhost'], command);
  const { host, port } = parts(await run.line(ready));

  t.equal(host, 'localhost');
  const addresses = listeningSockets(run.pid).map(row => row.split(':')[0]);
  t.ok(addresses.includes('0100007F'));
  t.notOk(addresses.some(address => /^0+$/.test(address ?? '')));
  t.ok(await reaches('127.0.0.1', port));
  run.kill('SIGTERM');
  await run.ended;
});

t.test('with a token only those who have it coordinate, and everybody uses the store', async t => {
  const token = 's3cret'.repeat(4);
  const path = join(t.testdir({ token: `${token}\n` }), 'token');
  chmodSync(path, 0o600);
  for (const [args, env] of [
    [[`--token-file=${path}`], {}],
    [[], { REGROUP_TOKEN: token }],
  ] as const) {
    const run = startCli(t, args, { ...command, env });
    const { port } = parts(await run.line(ready));
    const at = { host: '127.0.0.1', port };

    const agents = await connectServer({ ...at, token });
    t.equal(await agents.put('key', 'value'), 1);
    await agents.close();
    await t.rejects(connectServer(at), { code: 'DENIED' });
    const store = await connectStore(at);
    await store.set('key', 'value');
    await store.close();
    run.kill('SIGTERM');
    const { code, stderr } = await run.ended;
    t.equal(code, 0);
    t.notMatch(stderr, /whoever reaches|s3cret/);
  }
});

t.test('--host=::1 is printed so that it can be told from the port', async t => {
  const run = startCli(t, ['--host=::1'], command);
  const { host, port } = parts(await run.line(ready));

  t.equal(host, '[::1]');
  t.ok(await reaches('::1', port));
  run.kill('SIGTERM');
  await run.ended;
});

t.test('a port in use ends with 1 and one line that names its holder', async t => {
  const first = startCli(t, ['--host=127.0.0.1'], command);
  const { port } = parts(await first.line(ready));
  const second = await runCli(t, ['--host=127.0.0.1', `--port=${port}`], command);

  t.match(second, { code: 1, stdout: '' });
  t.match(
    second.stderr,
    new RegExp(
      `^regroup-store: error: cannot serve the store at .*:${port}: the port is in use by .*pid ${first.pid}.*\\n$`,
    ),
  );
  first.kill('SIGTERM');
  await first.ended;
});

t.test('an address of another machine ends with 1 and one line', async t => {
  const ended = await runCli(t, ['--host=192.0.2.1'], command);

  t.match(ended, { code: 1, stdout: '' });
  t.match(
    ended.stderr,
    /^regroup-store: error: [^\n]*192\.0\.2\.1 is not an address of this machine[^\n]*\n$/,
  );
});

t.test('a wrong command line ends with 2 and one line', async t => {
  for (const args of [
    ['--port=70000'],
    ['--port=-1'],
    ['--port=x'],
    ['--port='],
    ['--port'],
    ['--host='],
    ['--bogus'],
    ['train.py'],
    ['--token-file=/nowhere'],
    ['--token-file=/dev/null'],
  ]) {
    const ended = await runCli(t, args, command);
    t.match(ended, { code: 2, stdout: '' }, args.join(' '));
    t.match(ended.stderr, /^regroup-store: error: [^\n]+\n$/, args.join(' '));
  }
});

t.test('--help and --version go to stdout, with exit code 0', async t => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  const help = await runCli(t, ['--help'], command);

  t.match(help, { code: 0, stderr: '' });
  t.match(
    help.stdout,
    /^usage: regroup-store \[--host HOST \| --listen-fd N\] \[--port PORT\] \[--shared-memory\]\n/,
  );
  const printed = await runCli(t, ['--version'], command);
  t.match(printed, { code: 0, stdout: `regroup-store ${version}\n`, stderr: '' });
});

t.test(
  '--shared-memory also tells the socket that gives it; clients that break rules are named',
  async t => {
    const run = startCli(t, ['--host', 'localhost', '--shared-memory'], command);
    const [, port = '', local = ''] =
      /^ready localhost:(\d+) (@regroup-store-[0-9a-f]{32})$/.exec(await run.line(/^ready/)) ?? [];
    await using client = await connectStore({ host: '127.0.0.1', port: Number(port) });
    await client.set('key', 'value');
    using shared = openSharedStore(local);
    t.equal(String(shared.get('key')), 'value');

    const socket = connect(Number(port), '127.0.0.1').on('error', () => {});
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await once(socket, 'close');
    run.kill('SIGTERM');
    const { stderr } = await run.ended;
    t.match(
      stderr,
      /^regroup-store: closed 127\.0\.0\.1:\d+: not a protocol that's served here\n$/,
    );
    t.equal(shared.get('key'), 'unknown', 'the server is gone');
  },
);

const listening = (code: string): readonly string[] => ['python3', '-c', code];
/** Binds a socket, says its port, makes it descriptor 7, and becomes what follows. */
const binds = (more: string): readonly string[] =>
  listening(`
import os, socket, sys
s = socket.socket(socket.AF_INET, ${more.includes('udp') ? 'socket.SOCK_DGRAM' : 'socket.SOCK_STREAM'})
${more.includes('unbound') ? '' : `s.bind(("${more.includes('for all') ? '' : '127.0.0.1'}", 0))`}
${more.includes('listens') ? 's.listen()' : ''}
print("bound", s.getsockname()[1], flush=True)
os.dup2(s.fileno(), 7)
os.execv(sys.argv[1], sys.argv[1:])`);

for (const how of ['bound', 'listens', 'bound for all']) {
  t.test(`T-064 regroup-store serves at a descriptor that ${how} already`, async t => {
    const run = startCli(t, ['--listen-fd=7'], { ...command, under: binds(how) });
    const bound = Number((await run.line(/^bound/)).split(' ')[1]);
    const { port } = parts(await run.line(ready));

    t.equal(port, bound);
    const store = await connectStore({ host: '127.0.0.1', port });
    await store.set('key', 'value');
    t.equal(String(await store.get('key')), 'value');
    await store.close();
    run.kill('SIGTERM');
    const own = how === 'bound for all' ? '0.0.0.0' : '127.0.0.1';
    const { code, stdout, stderr } = await run.ended;
    t.equal(code, 0);
    t.match(stdout, `ready ${own}:${port}\n`);
    t.match(stderr, own === '0.0.0.0' ? open : /^$/);
  });
}

for (const [how, args, why] of [
  ['unbound', [], /descriptor 7: it is not bound/],
  ['udp', [], /descriptor 7: it is no TCP socket/],
  ['bound', ['--port=1'], /descriptor 7: it is bound to another port/],
] as const) {
  t.test(`T-064 a descriptor is refused: ${how} ${args}`, async t => {
    const ended = await runCli(t, ['--listen-fd=7', ...args], { ...command, under: binds(how) });

    t.match(ended, { code: 1, stderr: why });
  });
}

t.test('T-064 a descriptor that is not there, or no number, is refused', async t => {
  t.match(await runCli(t, ['--listen-fd=77'], command), { code: 1, stderr: /77: it is not open/ });
  t.match(await runCli(t, ['--listen-fd=x'], command), { code: 2, stderr: /not a descriptor/ });
});
