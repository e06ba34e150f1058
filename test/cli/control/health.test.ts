import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type CliRun, runCli, startCli } from '../../harness.js';

/** What probes of a platform get from a real run. */

const script = resolve('test/fixtures/until_stopped.py');

async function served(t: Test, args: readonly string[], more: object = {}) {
  const env = { TORCHELASTIC_HEALTH_CHECK_PORT: '0', LOGLEVEL: 'INFO', ...more };
  const run = startCli(t, args, { env });
  const line = await run.line(/health is served at \d+/);
  return { run, port: Number(/(\d+)$/.exec(line)?.[1]) };
}

async function get(port: number, path: string, host = '127.0.0.1'): Promise<[number, string]> {
  const response = await fetch(`http://${host}:${port}${path}`);
  return [response.status, await response.text()];
}

async function end(run: CliRun): Promise<void> {
  run.kill('SIGTERM');
  await run.ended;
}

t.test('L-100 health is served before the rendezvous, and until the end', async t => {
  // Nobody is at that endpoint, so that no round ever forms.
  const args = ['--nnodes=2', '--rdzv-backend=c10d', '--rdzv-endpoint=127.0.0.1:1', '--rdzv-id=x'];
  const { run, port } = await served(t, [...args, script]);

  t.same(await get(port, '/livez'), [200, 'ok\n']);
  t.same(await get(port, '/healthz'), [200, 'ok\n']);
  t.same(await get(port, '/'), [200, 'ok\n']);
  t.match(await get(port, '/readyz'), [503, /^the workers don't run: joining\n$/]);
  t.match(await get(port, '/constructor'), [404, /one of \/ /]);
  const post = await fetch(`http://127.0.0.1:${port}/livez`, { method: 'POST', body: 'x' });
  t.equal(post.status, 405);
  await end(run);
  await t.rejects(get(port, '/livez'));
});

t.test('L-100 a run is ready while its workers run', async t => {
  const { run, port } = await served(t, [script]);
  await run.line(/rank 0 of round 0 is ready/);

  t.same(await get(port, '/readyz?verbose'), [200, 'ok\n']);
  // The supervisor has answered, too.
  t.same(await get(port, '/livez'), [200, 'ok\n']);
  await end(run);
});

t.test('L-100 a port in use, or that is none, never breaks a run', async t => {
  const taken = createServer().listen(0);
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const run = (value: string) => {
    const env = { TORCHELASTIC_HEALTH_CHECK_PORT: value, LOGLEVEL: 'INFO' };
    return runCli(t, ['--no-python', 'sleep', '0.2'], { env });
  };

  const used = await run(String(port));
  const none = await run('http');

  t.equal(used.code, 0);
  t.equal(used.stderr.match(new RegExp(`no health: port ${port} is in use`, 'g'))?.length, 1);
  t.equal(none.code, 0);
  t.match(none.stderr, /Invalid healthcheck port value: 'http', expecting integer/);
});

t.test('whoever connects and says nothing, or much, keeps no probe out', async t => {
  const { run, port } = await served(t, [script]);
  const peers: Socket[] = [];
  t.teardown(() => peers.map(peer => peer.destroy()));
  for (let i = 0; i < 200; i++) {
    const peer = connect(port, '127.0.0.1').on('error', () => {});
    peers.push(peer);
    await once(peer, 'connect');
    if (i % 2 === 0) peer.write(`GET /${'x'.repeat(100_000)} HTTP/1.1\r\n`);
    if (i % 3 === 0) peer.write('\0\0\0\0');
  }

  t.same(await get(port, '/livez'), [200, 'ok\n']);
  await end(run);
});
