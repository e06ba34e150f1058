import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import {
  askEtcd,
  type EtcdMember,
  enableUsers,
  hasty,
  leaderOf,
  startEtcd,
  startEtcdCluster,
  writeCertificates,
} from '../coordination/etcd-server.js';
import { type CliRun, gone, runCli, serveStore, startCli } from '../harness.js';

/** In CI it must be there. */
const noEtcd =
  spawnSync('etcd', ['--version']).status === 0 || process.env.CI
    ? false
    : 'no etcd: `apt-get install --no-install-recommends etcd-server`';

/** Leases that bear a machine which is busy with much else. */
const leaseMs = 10_000;

/** Tells its process (the agent makes `$` of `$$`) and its round, and lives until the file `over` is there or, with exit code 7 and once only, `fails`. */
const worker = `
  echo "process $$$$ is worker $GROUP_RANK of $GROUP_WORLD_SIZE in round $REGROUP_ROUND"
  until [ -e over ]; do
    if [ "$GROUP_RANK" = 1 ] && rm fails 2>/dev/null; then exit 7; fi
    sleep 0.1
  done`;

interface Agents {
  readonly cwd: string;
  readonly runs: readonly CliRun[];
  /** Resolves when the workers of all agents have told that they are in a round, with their processes. */
  inRound(round: number): Promise<readonly number[]>;
  /** Makes a file that workers look for. */
  make(file: 'over' | 'fails'): void;
  /** Resolves with their exit codes. */
  codes(): Promise<readonly (number | null)[]>;
}

function endpointOf(members: readonly { readonly url: string }[]): string {
  return members.map(({ url }) => url.replace(/^https?:\/\//, '')).join(',');
}

function argsFor(endpoint: string, ...more: readonly string[]): readonly string[] {
  return [
    ...['--nnodes=2', '--rdzv-backend=etcd', `--rdzv-endpoint=${endpoint}`, '--rdzv-id=job'],
    ...['--local-addr=127.0.0.1', `--lease=${leaseMs}ms`, ...more],
    ...['--no-python', 'sh', '-c', worker],
  ];
}

function startAgents(
  t: Test,
  members: readonly { readonly url: string }[],
  ...more: readonly string[]
): Agents {
  // Members may have their data in the test's own.
  const cwd = mkdtempSync(join(tmpdir(), 'regroup-test-'));
  t.teardown(() => rmSync(cwd, { recursive: true }));
  const args = argsFor(endpointOf(members), ...more);
  const runs = [startCli(t, args, { cwd }), startCli(t, args, { cwd })];
  return {
    cwd,
    runs,
    async inRound(round) {
      const told = runs.map(run => run.line(new RegExp(`of 2 in round ${round}$`)));
      return (await Promise.all(told)).map(line => Number(line.split(' ')[1]));
    },
    make: file => writeFileSync(`${cwd}/${file}`, ''),
    async codes() {
      const ended = await Promise.all(runs.map(run => run.ended));
      return ended.map(({ code }) => code);
    },
  };
}

/** Rounds that the workers of an agent have told of. */
function roundsOf(run: CliRun): readonly number[] {
  return [...run.stdout().matchAll(/in round (\d+)$/gm)].map(([, round]) => Number(round));
}

/** Keys that anybody has in etcd. */
async function keysIn(members: readonly EtcdMember[]): Promise<readonly string[]> {
  const all = { key: 'AA==', range_end: 'AA==', keys_only: true };
  const answer = await askEtcd(members[0]?.url ?? '', '/v3/kv/range', all);
  const { kvs = [] } = answer as { kvs?: readonly { key: string }[] };
  return kvs.map(({ key }) => Buffer.from(key, 'base64').toString());
}

t.test('R-053: agents meet at an etcd v3, and leave nothing in it', { skip: noEtcd }, async t => {
  const members = [await startEtcd(t)];

  await t.test('R-051: after success, though it was away and watches had to resume', async t => {
    const agents = startAgents(t, members, '--max-restarts=1');
    await agents.inRound(0);
    await members[0]?.kill();
    await members[0]?.start();
    agents.make('fails');
    await agents.inRound(1);
    t.not((await keysIn(members)).length, 0);
    agents.make('over');

    t.strictSame(await agents.codes(), [0, 0]);
    t.strictSame(await keysIn(members), []);
  });

  await t.test('after a failure that no restart is left for', async t => {
    const agents = startAgents(t, members);
    await agents.inRound(0);
    agents.make('fails');

    t.strictSame(await agents.codes(), [1, 1]);
    t.strictSame(await keysIn(members), []);
  });

  await t.test('after SIGTERM of all', async t => {
    const agents = startAgents(t, members);
    await agents.inRound(0);
    for (const run of agents.runs) run.kill('SIGTERM');

    t.strictSame(await agents.codes(), [1, 1]);
    t.strictSame(await keysIn(members), []);
  });

  await t.test('R-056: one that was started otherwise is refused in a sentence', async t => {
    const agents = startAgents(t, members);
    await agents.inRound(0);
    const other = argsFor(endpointOf(members), '--nnodes=2:4');
    const { code, stderr } = await runCli(t, other, { cwd: agents.cwd });

    t.equal(code, 1);
    t.match(
      stderr,
      /rendezvous: the job was started with --nnodes 2 --lease 10000ms, and this node with --nnodes 2:4 /,
    );
    agents.make('over');
    t.strictSame(await agents.codes(), [0, 0]);
    t.ok(agents.runs.every(run => `${roundsOf(run)}` === '0'));
  });
});

for (const how of ['killed', 'frozen'] as const) {
  for (const who of ['leader', 'follower'] as const) {
    const title = `R-051: a ${who} of etcd that is ${how}, and that agents talk to, costs nothing`;
    t.test(title, { skip: noEtcd }, async t => {
      const members = await startEtcdCluster(t, 3, { args: hasty });
      const leader = await leaderOf(members);
      const lost = who === 'leader' ? leader : members.find(member => member !== leader);
      if (lost === undefined) throw new Error('no such member');
      const others = members.filter(member => member !== lost);
      const agents = startAgents(t, [lost, ...others], '--max-restarts=1');
      await agents.inRound(0);

      if (how === 'killed') await lost.kill();
      else await lost.freeze();
      // Whoever could not renew has lost it by then.
      await sleep(leaseMs);
      t.ok(agents.runs.every(run => `${roundsOf(run)}` === '0'));
      // Who missed nothing learns of a failure, too.
      agents.make('fails');
      await agents.inRound(1);
      agents.make('over');

      t.strictSame(await agents.codes(), [0, 0]);
      t.strictSame(await keysIn(others), []);
    });
  }
}

t.test(
  'R-047: without a majority workers are killed, and the job goes on with it',
  { skip: noEtcd },
  async t => {
    const members = await startEtcdCluster(t, 3, { args: hasty });
    const agents = startAgents(t, members);
    const workers = await agents.inRound(0);

    const away = members.slice(1);
    await Promise.all(away.map(member => member.kill()));
    await gone(workers);
    t.ok(agents.runs.every(run => `${roundsOf(run)}` === '0'));
    await Promise.all(away.map(member => member.start()));
    await agents.inRound(1);
    agents.make('over');

    t.strictSame(await agents.codes(), [0, 0]);
    t.strictSame(await keysIn(members), []);
  },
);

t.test('what is wrong with an etcd is told in one sentence', { skip: noEtcd }, async t => {
  const sentence = async (
    t: Test,
    endpoint: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<string> => {
    const { code, stdout, stderr } = await runCli(t, argsFor(endpoint, ...args), { env });
    t.equal(code, 1);
    t.equal(stdout, '');
    const lines = stderr.split('\n').filter(line => line.includes('rendezvous: '));
    t.equal(lines.length, 1, stderr);
    return lines[0] ?? '';
  };

  await t.test('nobody is there', async t => {
    const told = await sentence(t, '127.0.0.1:1,[::1]:1', ['--rdzv-conf=join_timeout=1']);
    t.match(told, /no etcd answers at 127.0.0.1:1,\[::1\]:1, tried for 1 s: .*ECONNREFUSED/);
  });

  await t.test('something else is', async t => {
    const { host, port } = await serveStore(t);
    const http = createServer((_, answer) => answer.end('hello')).listen(0, '127.0.0.1');
    await once(http, 'listening');
    const { port: httpPort } = http.address() as AddressInfo;

    t.match(
      await sentence(t, `127.0.0.1:${httpPort}`, []),
      /"hello"; that isn't an answer of etcd/,
    );
    const conf = '--rdzv-conf=join_timeout=1';
    t.match(await sentence(t, `${host}:${port}`, [conf]), new RegExp(`etcd at .*:${port}`));
    http.closeAllConnections();
    http.close();
  });

  await t.test('it has no gateway for v3', async t => {
    const member = await startEtcd(t, { args: ['--enable-grpc-gateway=false', '--enable-v2'] });
    t.match(await sentence(t, endpointOf([member]), []), /no JSON gateway of etcd 3.4 or newer/);
  });

  await t.test('certificates', async t => {
    const { server, expired, client, stranger } = writeCertificates(t);
    const member = await startEtcd(t, { tls: server });
    const conf = (files: Readonly<Record<string, string>>): string =>
      `--rdzv-conf=protocol=https,${Object.entries(files).map(pair => pair.join('='))}`;
    const endpoint = endpointOf([member]);
    const { ca: cacert, cert, key } = client;

    t.match(await sentence(t, endpoint, [conf({ cert, key })]), /isn't to be trusted \(.*; see ca/);
    const strange = conf({ cacert, ...stranger });
    t.match(await sentence(t, endpoint, [strange]), /refused our certificate, or wants one/);
    const missing = conf({ cacert: '/none' });
    t.match(await sentence(t, endpoint, [missing]), /ca: ENOENT: no such file.*'\/none'/);
    const plain = ['--rdzv-conf=join_timeout=1'];
    t.match(await sentence(t, endpoint, plain), /begins with https:|write https:/);

    const old = await startEtcd(t, { tls: { ca: cacert, ...expired } });
    const args = [conf({ cacert, cert, key })];
    t.match(await sentence(t, endpointOf([old]), args), /\(certificate has expired\); see ca/);

    const agents = startAgents(t, [member], ...args);
    await agents.inRound(0);
    agents.make('over');
    t.strictSame(await agents.codes(), [0, 0]);
  });

  await t.test('users', async t => {
    const member = await startEtcd(t);
    await addUsers(member.url);
    const endpoint = endpointOf([member]);
    const as = (name: string, password: string) => ({
      REGROUP_ETCD_USER: name,
      REGROUP_ETCD_PASSWORD: password,
    });

    t.match(await sentence(t, endpoint, []), /give a user and a password/);
    const wrong = await sentence(t, endpoint, [], as('reader', 'wr0ng'));
    t.match(wrong, /check the user and password/);
    t.notMatch(wrong, /wr0ng/);
    const denied = await sentence(t, endpoint, [], as('stranger', 's3cret'));
    t.match(denied, /permission denied; grant the user a role/);
    const readOnly = await sentence(t, endpoint, [], as('reader', 's3cret'));
    t.match(readOnly, /permission denied; grant the user a role/);
  });
});

/** Users `stranger`, who may do nothing, and `reader`, who may read everything, both with `s3cret`. */
async function addUsers(url: string): Promise<void> {
  const all = { key: 'AA==', range_end: 'AA==' };
  await enableUsers(url, [
    ['user/add', { name: 'stranger', password: 's3cret' }],
    ['user/add', { name: 'reader', password: 's3cret' }],
    ['role/add', { name: 'readers' }],
    ['role/grant', { name: 'readers', perm: { permType: 'READ', ...all } }],
    ['user/grant', { user: 'reader', role: 'readers' }],
  ]);
}
