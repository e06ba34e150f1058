import { join } from 'node:path';
import type { Test } from 'tap';
import { actsOf, modulesOf } from '../../../lib/preload/learned.js';
import {
  learn,
  orderOf,
  type Program,
  runCold,
  type Shown,
  startStandby,
  textsOf,
} from './standby.js';

/** What workers get beside the machine's own. */
const environment = {
  PATH: '/usr/local/bin:/usr/bin:/bin',
  HOME: '/nonexistent',
  LANG: 'C.UTF-8',
  PYTHONHASHSEED: '7',
  PYTHONDONTWRITEBYTECODE: '1',
  RANK: '1',
  MASTER_PORT: '29501',
  TORCHELASTIC_RESTART_COUNT: '1',
  EMPTY: '',
};

/** A standby is started before its round is known. */
const lastRound = { RANK: '0', MASTER_PORT: '29500', TORCHELASTIC_RESTART_COUNT: '0' };

/** A program that shows what it can see. */
export interface Case {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly under?: readonly string[];
  /** What to import, for programs that needn't be learned from. */
  readonly modules?: readonly string[];
  /** What it must at least have printed, so that nothing is compared with nothing. */
  readonly shows: RegExp;
  /** What differs between any two runs. */
  readonly except?: RegExp;
}

/** Compares a cold run with one that's learned from, unless its imports are known, and with a warm one. */
export async function same(t: Test, python: string, folder: string, one: Case): Promise<void> {
  const program: Program = {
    python,
    args: ['-u', ...one.args],
    env: { ...environment, ...one.env },
    cwd: folder,
    ...(one.under ? { under: one.under } : {}),
  };
  const record = one.modules ? undefined : await learn(t, program, join(folder, 'learned'));
  const learned = record?.learned;
  if (record) t.match(learned, { acts: Array, unsafe: undefined }, 'it runs, and finds it safe');
  const acts = learned?.acts ?? actsOf(one.modules ?? []);
  const modules = modulesOf(acts);
  const standby = startStandby(t, program, { acts, env: lastRound });
  const [cold, parked] = await Promise.all([runCold(t, program), standby.message()]);
  t.strictSame(textsOf(parked, 'problem'), []);
  t.strictSame(textsOf(parked, 'missing'), []);
  t.strictSame(textsOf(parked, 'module'), modules);

  standby.send(orderOf(program));
  const answer = await standby.message();
  t.strictSame(textsOf(answer, 'type'), ['started'], textsOf(answer, 'why')[0] ?? 'it starts');
  const warm = await standby.ended;

  t.match([...cold.stdout, ...cold.stderr].join('\n'), one.shows, 'it shows something');
  if (record) compare(t, record.shown, cold, one.except, 'learned from');
  compare(t, warm, cold, one.except, 'warm');
}

function compare(
  t: Test,
  shown: Shown,
  cold: Shown,
  except: RegExp | undefined,
  how: string,
): void {
  t.equal(shown.code, cold.code, `${how}: exit code`);
  t.equal(shown.signal, cold.signal, `${how}: signal`);
  for (const name of ['stdout', 'stderr'] as const) {
    // Addresses differ between any two runs.
    const kept = (lines: readonly string[]) =>
      lines
        .filter(line => !except?.test(line))
        .map(line => line.replaceAll(/0x[0-9a-f]{8,}/g, '0x'));
    const [ours, theirs] = [kept(shown[name]), kept(cold[name])];
    const differing = Array.from({ length: Math.max(ours.length, theirs.length) }, (_, at) => at)
      .filter(at => ours[at] !== theirs[at])
      .map(at => [`line ${at + 1}`, `${how}: ${ours[at]}`, `cold: ${theirs[at]}`]);
    t.strictSame(differing.slice(0, 3), [], `${how}: ${theirs.length} lines of ${name}`);
  }
}
