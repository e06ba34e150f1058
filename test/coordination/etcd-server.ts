import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Test } from 'tap';
import { type CliRun, startProgram } from '../harness.js';

/** A member that runs, ends with the test, and can be treated badly before. */
export interface EtcdMember {
  readonly url: string;
  /** By SIGSTOP. Resolves once it stands still. */
  freeze(): Promise<void>;
  /** Has it go on. */
  thaw(): void;
  kill(): Promise<void>;
  /** Again, with the data that it had. Resolves when it serves. */
  start(): Promise<void>;
}

export interface EtcdOptions {
  readonly args?: readonly string[];
  /** Files for TLS of clients. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

/** Has members elect another leader sooner, and more often without need: tests of several have to bear it. */
export const hasty = ['--heartbeat-interval=50', '--election-timeout=500'];

/** A cluster of one. */
export async function startEtcd(t: Test, options: EtcdOptions = {}): Promise<EtcdMember> {
  // Alone, it has nobody to lose, and needn't wait for others.
  const args = [...hasty, ...(options.args ?? [])];
  const [member] = await startEtcdCluster(t, 1, { ...options, args });
  if (member === undefined) throw new Error('none of one');
  return member;
}

/** Resolves when all of them serve, which takes a leader. */
export async function startEtcdCluster(
  t: Test,
  size: number,
  { args = [], tls }: EtcdOptions = {},
): Promise<EtcdMember[]> {
  const folder = t.testdir();
  const scheme = tls === undefined ? 'http' : 'https';
  const plans = [];
  for (let i = 0; i < size; i++) {
    const name = `m${i}`;
    const [client, peer] = [await freePort(), await freePort()];
    const url = `${scheme}://127.0.0.1:${client}`;
    plans.push({ name, url, peer: `http://127.0.0.1:${peer}`, data: `${folder}/${name}` });
  }
  const cluster = plans.map(({ name, peer }) => `${name}=${peer}`).join(',');
  const members = plans.map(({ name, url, peer, data }) =>
    createMember(t, url, [
      'etcd',
      `--name=${name}`,
      `--data-dir=${data}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=${cluster}`,
      ...(tls === undefined
        ? []
        : [
            `--trusted-ca-file=${tls.ca}`,
            `--cert-file=${tls.cert}`,
            `--key-file=${tls.key}`,
            '--client-cert-auth',
          ]),
      ...args,
    ]),
  );
  await Promise.all(members.map(member => member.start()));
  return members;
}

function createMember(t: Test, url: string, command: readonly string[]): EtcdMember {
  let run: CliRun | undefined;
  return {
    url,
    async freeze() {
      run?.kill('SIGSTOP');
      const isStopped = () => /^State:\s+T/m.test(readFileSync(`/proc/${run?.pid}/status`, 'utf8'));
      // Nothing tells of it but looking.
      while (!isStopped()) await nextTurn();
    },
    thaw: () => run?.kill('SIGCONT'),
    kill,
    async start() {
      run = startProgram(t, command);
      t.teardown(kill);
      await run.line(/ready to serve client requests/);
    },
  };

  async function kill(): Promise<void> {
    run?.kill('SIGKILL');
    await run?.ended;
  }
}

/** Below those that the kernel gives to connections, so that it's still free when the member is started again. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false, // somebody has it
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** What our client has no word for: `POST` of a path with a body, as JSON. */
export async function askEtcd(url: string, path: string, body: unknown): Promise<unknown> {
  const response = await fetch(url + path, { method: 'POST', body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${path}: ${JSON.stringify(answer)}`);
  return answer;
}

interface Pair {
  readonly cert: string;
  readonly key: string;
}

/**
 * A server's certificate, for 127.0.0.1, the same past its time, and one of a client, by the same authority; and a stranger's, by nobody we
 * know.
 */
export function writeCertificates(t: Test): {
  readonly server: Pair & { readonly ca: string };
  readonly expired: Pair;
  readonly client: Pair & { readonly ca: string };
  readonly stranger: Pair;
} {
  const folder = mkdtempSync(join(tmpdir(), 'regroup-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const ca = join(folder, 'ca.pem');
  const make = (name: string, by: string | undefined, use: string): Pair => {
    const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
    const signed =
      by === undefined ? [] : ['-CA', `${folder}/${by}.pem`, '-CAkey', `${folder}/${by}.key`];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const files = ['-keyout', key, '-out', cert, '-subj', `/CN=${name}`, '-days', '2'];
    const extensions = use.split(' ').flatMap(ext => ['-addext', ext]);
    openssl(['req', '-x509', ...kind, ...files, ...signed, ...extensions]);
    return { cert, key };
  };

  make('ca', undefined, 'keyUsage=keyCertSign');
  const both = 'basicConstraints=critical,CA:FALSE extendedKeyUsage=serverAuth,clientAuth';
  const server = make('server', 'ca', `${both} subjectAltName=IP:127.0.0.1`);
  const expired = { cert: join(folder, 'expired.pem'), key: server.key };
  const byCa = ['-CA', join(folder, 'ca.pem'), '-CAkey', join(folder, 'ca.key')];
  const asked = openssl(['req', '-new', '-key', server.key, '-subj', '/CN=server']);
  openssl(['x509', '-req', ...byCa, '-days', '-1', '-out', expired.cert], asked);
  const client = make('client', 'ca', both);
  const stranger = make('stranger', undefined, 'keyUsage=digitalSignature');
  return { server: { ...server, ca }, expired, client: { ...client, ca }, stranger };
}

/** @returns what it prints */
function openssl(args: readonly string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync('openssl', args, { encoding: 'utf8', input });
  if (status !== 0) throw new Error(`openssl: ${stderr}`);
  return stdout;
}

/** Which of them it is, by its own word. */
export async function leaderOf<Member extends { readonly url: string }>(
  members: readonly Member[],
): Promise<Member> {
  for (const member of members) {
    const status = (await askEtcd(member.url, '/v3/maintenance/status', {})) as {
      leader: string;
      header: { member_id: string };
    };
    if (status.leader === status.header.member_id) return member;
  }
  throw new Error('no leader');
}

/** From then on etcd asks for users: root, whose password is `toor`, and those whom the calls below `/v3/auth` add. */
export async function enableUsers(
  url: string,
  calls: readonly (readonly [path: string, body: object])[],
): Promise<void> {
  for (const [path, body] of [
    ['user/add', { name: 'root', password: 'toor' }],
    ['role/add', { name: 'root' }],
    ['user/grant', { user: 'root', role: 'root' }],
    ...calls,
    ['enable', {}],
  ] as const) {
    await askEtcd(url, `/v3/auth/${path}`, body);
  }
}
