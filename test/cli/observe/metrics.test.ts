import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type CliRun, listeningSockets, runCli, startCli } from '../../harness.js';
import { parseExposition } from '../../observe/metrics/exposition.js';

/** Says that it's up, and waits for a line at stdin. */
const waits = 'echo up; read -r line; exit 0';

function job(...flags: readonly string[]): string[] {
  return ['--standalone', ...flags, '--no-python', 'sh', '-c'];
}

async function urlOf(run: CliRun): Promise<URL> {
  const line = await run.line(/^regroup: metrics: /);
  return new URL(line.replace('regroup: metrics: ', ''));
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

async function get(url: URL, path = url.pathname, method = 'GET'): Promise<Answer> {
  const asked = request(new URL(path, url), { method, agent: false });
  asked.end();
  const [response] = await once(asked, 'response');
  let body = '';
  for await (const chunk of response) body += chunk;
  return { status: response.statusCode, type: String(response.headers['content-type']), body };
}

async function samples(url: URL): Promise<ReadonlyMap<string, number>> {
  const families = parseExposition((await get(url)).body);
  return new Map([...families.values()].flatMap(family => [...family.samples]));
}

t.test('18.2: --metrics serves what happens, from the start to the end', async t => {
  const run = startCli(t, [...job('--metrics=0', '--nproc-per-node=1'), waits], { typing: true });
  const url = await urlOf(run);
  await run.line(/^up$/);

  const { status, type, body } = await get(url);
  t.equal(status, 200);
  t.match(type, /^text\/plain; version=0\.0\.4/);
  t.equal(
    parseExposition(body).get('regroup_workers')?.samples.get('regroup_workers{state="running"}'),
    1,
  );
  t.equal(url.hostname, '127.0.0.1');
  t.equal((await get(url, '/metrics?name[]=x')).status, 200);
  t.match(await get(url, '/'), { status: 404, body: 'see /metrics\n' });
  t.match(await get(url, '/metrics', 'POST'), { status: 405 });
  t.match(await get(url, '/metrics', 'HEAD'), { status: 200, body: '' });

  run.type();
  t.match(await run.ended, { code: 0 });
  await t.rejects(get(url), { code: 'ECONNREFUSED' });
});

t.test('18.2: a restart is in the figures, and so is the store', async t => {
  const script = `
import os, socket, struct, sys
store = socket.create_connection((os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])))
store.sendall(bytes.fromhex('00cef7853c') + struct.pack('<BQ1sq', 4, 1, b'k', 1))
store.recv(8)
sys.exit(3) if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' else None
sys.stdin.read()`;
  const flags = ['--standalone', '--nproc-per-node=1', '--max-restarts=2', '--metrics=127.0.0.1:0'];
  const run = startCli(t, [...flags, '--no-python', 'python3', '-S', '-E', '-c', script], {
    typing: true,
  });
  const url = await urlOf(run);
  await run.line(/^regroup: restarted in/);

  const found = await samples(url);
  t.equal(found.get('regroup_rounds_total'), 2);
  t.equal(found.get('regroup_restarts_total{cause="failure"}'), 1);
  t.equal(found.get('regroup_restarts_left'), 1);
  t.equal(found.get('regroup_store_operations_total{operation="ADD"}'), 1);
  t.ok((found.get('regroup_restart_phase_seconds_count{phase="script"}') ?? 0) === 1);
  const total = found.get('total_elapsed_time') ?? 0;
  const parts = [...found].filter(([name]) => /^(goodput_time|badput_time\{)/.test(name));
  t.ok(Math.abs(parts.reduce((sum, [, each]) => sum + each, 0) - total) < 1e-6);

  run.type();
  t.match(await run.ended, { code: 0 });
});

t.test('18.2: it is there while the nodes have not met', async t => {
  const flags = ['--nnodes=2', '--rdzv-id=x', '--rdzv-backend=c10d', '--rdzv-endpoint=127.0.0.1:0'];
  const run = startCli(t, [
    ...flags.slice(0, 3),
    '--rdzv-endpoint=127.0.0.1:29871',
    '--metrics=0',
    '--no-python',
    'true',
  ]);
  const url = await urlOf(run);

  t.equal((await samples(url)).get('regroup_rounds_total'), 0);

  run.kill('SIGTERM');
  await run.ended;
});

t.test('18.2: IPv6 is served where it is asked for', async t => {
  const run = startCli(t, [...job('--metrics=[::1]:0'), waits], { typing: true });
  const url = await urlOf(run);

  t.equal(url.hostname, '[::1]');
  t.equal((await get(url)).status, 200);

  run.type();
  t.match(await run.ended, { code: 0 });
});

t.test('18.2: what stands in the way is one line, and the job is as without', async t => {
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  t.teardown(() => holder.close());
  const { port } = holder.address() as { port: number };
  const cases = [
    [`${port}`, /metrics are not served at 127.0.0.1:\d+: the port is in use/],
    ['192.0.2.1:0', /metrics are not served at 192.0.2.1:0: this machine has no such address/],
  ] as const;

  for (const [address, line] of cases) {
    const ended = await runCli(t, [...job(`--metrics=${address}`), 'exit 0']);

    t.equal(ended.code, 0);
    t.match(
      ended.stderr.split('\n').filter(each => /metrics/.test(each)),
      [line],
    );
  }
});

t.test(
  '18.2: whoever holds its connections, sends nonsense or never reads costs nobody else',
  async t => {
    const run = startCli(t, [...job('--metrics=0'), waits], { typing: true });
    const url = await urlOf(run);
    await run.line(/^up$/);

    const held = await hold(t, Number(url.port), 300);
    t.equal((await get(url)).status, 200, 'while they are held');
    const [nonsense] = await hold(t, Number(url.port), 1);
    nonsense?.write('\u0000\u0001 nonsense\r\n\r\n');
    // The first make room for the others, and these run out of time.
    await Promise.all([...held, nonsense].map(each => each && closed(each)));
    t.equal((await get(url)).status, 200);

    const [mute] = await hold(t, Number(url.port), 1);
    mute?.pause();
    for (let i = 0; i < 500; i++) mute?.write('GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n');
    t.equal((await get(url)).status, 200);

    run.type();
    t.match(await run.ended, { code: 0 });
  },
);

/** Connections that say nothing. */
async function hold(t: Test, port: number, count: number): Promise<Socket[]> {
  const all = Array.from({ length: count }, () => connect(port, '127.0.0.1').on('error', () => {}));
  t.teardown(() => {
    for (const each of all) each.destroy();
  });
  await Promise.all(all.map(each => Promise.race([once(each, 'connect'), closed(each)])));
  return all;
}

async function closed(socket: Socket): Promise<void> {
  socket.resume();
  if (!socket.destroyed) await once(socket, 'close');
}

t.test('18.2: without the option nothing listens', async t => {
  const run = startCli(t, [...job(), waits], { typing: true });
  await run.line(/^up$/);

  const ports = listeningSockets(run.pid).map(each => /:([0-9A-F]+) /.exec(each)?.[1]);
  t.equal(new Set(ports).size, 1, "the workers' store alone");

  run.type();
  t.match(await run.ended, { code: 0 });
});
