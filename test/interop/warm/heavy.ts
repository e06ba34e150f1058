import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Test } from 'tap';
import { type AgentEvent, type LaunchOptions, launch, type RunResult } from '../../../lib/index.js';
import { pythons } from './pythons.js';
import { here } from './standby.js';

// Runs of a script that imports one installed module and one of its own, and dies when there are standbys. Without torch.

/** The newest of this machine. */
export const python = pythons().at(-1)?.path ?? '/usr/bin/python3';

/** Notes which process imports it, and what of the environment it sees then. */
export const heavy = [
  'import os',
  'seed = os.environ.get("MY_SEED", "-")',
  'with open(os.path.join(os.environ["NOTES"], "imported-%d" % os.getpid()), "w") as file:',
  '    file.write(seed)',
].join('\n');

export interface Setting {
  readonly folder: string;
  readonly cache: string;
  readonly options: LaunchOptions;
}

export function setting(
  t: Test,
  how: 'plain' | 'sets' | 'flags' | 'more',
  more: Record<string, string> = {},
): Setting {
  const folder = t.testdir({
    'site-packages': { 'heavy.py': heavy, ...more },
    'train.py': readFileSync(join(here, 'imports_heavy.py'), 'utf8'),
    'own.py': 'name = "own"\n',
    home: {},
  });
  const env = {
    PATH: process.env['PATH'],
    TMPDIR: process.env['TMPDIR'],
    HOME: join(folder, 'home'),
    NOTES: folder,
    PYTHONPATH: join(folder, 'site-packages'),
    PYTHONDONTWRITEBYTECODE: '1',
  };
  const options: LaunchOptions = {
    entrypoint: { script: join(folder, 'train.py') },
    args: [folder, how, '2'],
    python,
    env,
    nprocPerNode: 2,
    maxRestarts: 3,
    standby: 'auto',
    // The script has imported by then what it imports.
    standbyAfterMs: 2000,
  };
  return { folder, cache: join(folder, 'home/.cache/regroup'), options };
}

export interface Told {
  readonly result: RunResult;
  readonly events: readonly AgentEvent[];
  /** Of each group of standbys that waited: what each had imported of `heavy`, or undefined. */
  readonly ready: readonly (readonly (string | undefined)[])[];
}

/** Has the workers of each round die once there are standbys; or, unless `waitsOn`, once it's said that there are none. */
export async function run({ folder, options }: Setting, waitsOn = false): Promise<Told> {
  for (const name of readdirSync(folder).filter(each => each.startsWith('crash-')))
    rmSync(join(folder, name));
  const run = launch(options);
  const events: AgentEvent[] = [];
  const ready: (string | undefined)[][] = [];
  let round = -1;
  let isHopeless = false;
  const crash = (): void => writeFileSync(join(folder, `crash-${round}`), '');
  for await (const event of run.events()) {
    events.push(event);
    if (event.event === 'standbys-ready') {
      ready.push(event.pids.map(pid => read(join(folder, `imported-${pid}`))));
      crash();
    }
    if (event.event === 'standby-trouble') isHopeless = !waitsOn;
    if (event.event === 'round-started') round++;
    if (isHopeless && round >= 0) crash();
  }
  return { result: await run.result, events, ready };
}

/** The list that a run keeps: its disk may take its time, which no run waits for. */
export async function keptList({ cache }: Setting): Promise<string> {
  const until = Date.now() + 60_000;
  while (Date.now() < until) {
    const names = existsSync(cache) ? readdirSync(cache) : [];
    // Another one is one that's being written.
    const [name] = names;
    if (names.length === 1 && name?.endsWith('.json'))
      return readFileSync(join(cache, name), 'utf8');
    await sleep(20);
  }
  throw new Error(`no list is kept in ${cache}`);
}

export function read(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

export function reasons({ events }: Told, name: 'standby-trouble' | 'imports-not-kept'): string[] {
  return events.flatMap(event => (event.event === name ? [event.reason] : []));
}
