import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Test } from 'tap';
import {
  type Agent,
  type ClusterNode,
  noLinks,
  type StartOptions,
  startCluster,
} from '../../cluster/harness.js';
import { cleanEnv, gone } from '../../harness.js';
import { processesWith } from '../../processes.js';

const programs = ['slurmctld', 'slurmd', 'srun', 'sbatch', 'scancel', 'munged'];

/** Daemons lie where not every user's PATH leads. */
const path = `${cleanEnv().PATH}:/usr/sbin:/sbin`;

/** The reason for which Slurm isn't tested here; undefined where it is. In CI it's a failure if only Slurm is missing. */
export const noSlurm = noLinks ?? (process.env['CI'] ? undefined : missing());

function missing(): string | undefined {
  const found = (name: string) => spawnSync('which', [name], { env: { PATH: path } }).status === 0;
  const absent = programs.find(name => !found(name));
  if (absent === undefined) return undefined;
  return `no ${absent}: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge`;
}

/** A job that sbatch has queued. */
export interface Job {
  readonly id: number;
  /** The next line of its output that matches, as CliRun's. */
  line(pattern: RegExp): Promise<string>;
  /** What its script has ended with. Settles when it's done and doesn't begin again. */
  code(): Promise<number>;
  /** Settles once it's queued again, under its number. */
  requeued(): Promise<void>;
  /** All that it has printed so far. */
  output(): string;
}

export interface Slurm {
  readonly nodes: readonly ClusterNode[];
  /** The folder that jobs are submitted from and run in, which all nodes have. */
  readonly folder: string;
  /**
   * Queues a script.
   *
   * @param name of its file
   * @param options of sbatch, which win over those in the script
   * @param env for the job, besides the test's own. @default none
   */
  submit(
    name: string,
    script: string,
    options?: readonly string[],
    env?: StartOptions['env'],
  ): Promise<Job>;
  /** Runs one of Slurm's commands, as a user outside of its nodes does. @throws if it fails */
  command(...words: readonly string[]): Promise<void>;
}

/**
 * A cluster of Slurm's own daemons, each of whose nodes has a network, a host name and a slurmd of its own, with 64 CPUs and
 * 8 GPUs that exist for Slurm alone. Nothing of it is in the machine's own places: configuration, keys, sockets and state lie in a
 * folder that goes with the test, and names of nodes are known below it only.
 */
export async function startSlurm(t: Test, count: number): Promise<Slurm> {
  const absent = missing();
  if (absent !== undefined) throw new Error(absent);
  const place = mkdtempSync(join(tmpdir(), 'regroup-slurm-'));
  t.teardown(() => rmSync(place, { recursive: true }));
  const folder = join(place, 'home');
  const cluster = await startCluster(t, count);
  const { hub } = cluster;
  const nodes: readonly ClusterNode[] = cluster.nodes;
  const conf = configure(place, hub, nodes);
  mkdirSync(folder);

  const env = {
    PATH: `${resolve('build/bin')}:${path}`,
    SLURM_CONF: conf,
    // A job's nodes have others than whoever submits it.
    GLOO_SOCKET_IFNAME: undefined,
  };
  const names = `mount --bind ${place}/hosts /etc/hosts && cd ${folder} && exec "$@"`;
  const under = ['unshare', '--mount', 'sh', '-c', names, 'sh'];
  const run = (
    node: ClusterNode,
    words: readonly string[],
    more: StartOptions['env'] = {},
  ): Agent => node.run(words, { env: { ...env, ...more }, under });

  const munged = run(hub, ['munged', '--foreground', '--force', ...mungeOptions(place)]);
  const daemons: Agent[] = [munged];
  await munged.line(/Created \d+ work thread/);
  const controller = run(hub, ['slurmctld', '-D']);
  daemons.push(controller);
  await controller.line(/Running as primary controller/);
  for (const node of nodes) daemons.push(run(node, ['slurmd', '-D', '-N', node.name]));
  t.teardown(async () => {
    // Some job may be left by a test that has failed.
    const scancel = ['scancel', '--signal=KILL', '--full', '--user=root'];
    const [program = '', ...rest] = [...hub.under, ...under, ...scancel];
    spawnSync(program, rest, { env: { ...process.env, ...env } });
    for (const daemon of [...daemons].reverse()) {
      daemon.kill('SIGTERM');
      await daemon.end();
    }
    await gone(processesWith(`SLURM_CONF=${conf}`));
  });

  async function command(...words: readonly string[]): Promise<void> {
    const { code, stderr } = await run(hub, words).end();
    if (code !== 0) throw new Error(`${words.join(' ')}: ended with ${code}\n${stderr}`);
  }

  return {
    nodes,
    folder,
    command,
    async submit(name, script, options = [], more = {}) {
      writeFileSync(join(folder, name), script);
      const log = join(folder, `${name}.log`);
      writeFileSync(log, '');
      const output = run(hub, ['tail', '--follow', '--lines=+1', log]);
      const sbatch = run(hub, ['sbatch', `--output=${log}`, ...options, name], more);
      const id = Number(/\d+$/.exec(await sbatch.line(/^Submitted batch job \d+$/))?.[0]);
      return {
        id,
        line: output.line,
        output: output.output,
        async requeued() {
          await controller.line(new RegExp(`Requeuing JobId=${id}$`));
        },
        async code() {
          const done = await controller.line(new RegExp(`_job_complete: JobId=${id} WEXITSTATUS`));
          return Number(/\d+$/.exec(done)?.[0]);
        },
      };
    },
  };
}

function mungeOptions(place: string): readonly string[] {
  const options = { socket: 'munge.socket', 'key-file': 'key', 'pid-file': 'munge.pid' };
  const more = { 'log-file': 'munge.log', 'seed-file': 'munge.seed' };
  return Object.entries({ ...options, ...more }).map(
    ([name, file]) => `--${name}=${place}/${file}`,
  );
}

/** @returns the path of slurm.conf */
function configure(place: string, hub: ClusterNode, nodes: readonly ClusterNode[]): string {
  const write = (name: string, lines: readonly string[], mode = 0o644) =>
    writeFileSync(join(place, name), `${lines.join('\n')}\n`, { mode });
  write('key', [`not secret, since only this test's processes use it, and long enough`], 0o400);
  write('hosts', [
    '127.0.0.1 localhost',
    ...[hub, ...nodes].map(({ address, name }) => `${address} ${name}`),
  ]);
  mkdirSync(join(place, 'state'));
  for (let gpu = 0; gpu < 8; gpu++) write(`gpu${gpu}`, []);
  write('gres.conf', [`Name=gpu File=${place}/gpu[0-7]`]);
  write('slurm.conf', [
    'ClusterName=test',
    `SlurmctldHost=${hub.name}(${hub.address})`,
    'AuthType=auth/munge',
    `AuthInfo=socket=${place}/munge.socket`,
    'CredType=cred/munge',
    'SlurmUser=root',
    'ProctrackType=proctrack/pgid',
    'TaskPlugin=task/none',
    'JobAcctGatherType=jobacct_gather/none',
    'SelectType=select/cons_tres',
    'SelectTypeParameters=CR_Core',
    // Nodes have what is written here, and not what this machine has.
    'SlurmdParameters=config_overrides',
    'SchedulerParameters=batch_sched_delay=0',
    `StateSaveLocation=${place}/state`,
    `SlurmdSpoolDir=${place}/spool-%n`,
    `SlurmctldPidFile=${place}/slurmctld.pid`,
    `SlurmdPidFile=${place}/slurmd-%n.pid`,
    'ReturnToService=2',
    'MpiDefault=none',
    'GresTypes=gpu',
    ...nodes.map(
      ({ name, address }) =>
        `NodeName=${name} NodeAddr=${address} CPUs=64 Gres=gpu:8 State=UNKNOWN`,
    ),
    'PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE',
  ]);
  return join(place, 'slurm.conf');
}

/** A job file of docs/slurm.md, as it's there. @param index of those below the heading */
export function jobFile(heading: string, index = 0): string {
  const section = readFileSync('docs/slurm.md', 'utf8')
    .split(/^##? /m)
    .find(text => text.startsWith(`${heading}\n`));
  const blocks = [...(section ?? '').matchAll(/^```bash\n(.*?)^```$/gms)];
  const block = blocks[index]?.[1];
  if (block === undefined) throw new Error(`docs/slurm.md has no such job file: ${heading}`);
  return block.startsWith('#!') ? block : `#!/bin/bash\n${block}`;
}
