import type { NativeGroupPlan, NativePlan, NativeStream } from '../../native/plan.js';
import type { Act } from '../../preload/learned.js';
import { encodeMessage, learningEnv, standbyEnv } from '../../preload/standby.js';
import { sharedStoreVariable } from '../../store/shared.js';
import { bytesOf } from '../../util/bytes.js';

/** What a standby is started with, what it's told, and for which workers it's the right one. Pure. */

/** Variables that each round has anew. All others must be the same when a standby is taken over. */
const perRound: readonly string[] = [
  'RANK',
  'GROUP_RANK',
  'ROLE_RANK',
  'WORLD_SIZE',
  'GROUP_WORLD_SIZE',
  'ROLE_WORLD_SIZE',
  'MASTER_ADDR',
  'MASTER_PORT',
  'TORCHELASTIC_RESTART_COUNT',
  'TORCHELASTIC_ERROR_FILE',
  'REGROUP_ROUND',
  sharedStoreVariable,
];
const cookieVariable = 'REGROUP_COOKIE';
/** Its end of the socket: the first descriptor behind the streams. */
const descriptor = 3;
const version: readonly [string, string] = ['version', '1'];
/** How a group of these ends: it holds nothing that anybody waits for. */
export const discarding = { signal: 9, target: 'group', graceMs: 0, killWaitMs: 5000 } as const;

/**
 * Standbys for workers like these.
 *
 * @param acts what they do beforehand, in this order
 */
export function standbyPlan(
  round: NativeGroupPlan,
  { group, cookie, acts }: { group: number; cookie: string; acts: readonly Act[] },
): NativeGroupPlan {
  const standbyWords = prepareMessage(acts);
  return {
    ...round,
    group,
    cookie,
    parks: true,
    plans: round.plans.map(plan => ({ ...standbyOf(plan, cookie), standbyWords })),
  };
}

/** One interpreter of these workers that shows that it parks: without a script, and without output. */
export function proofPlan(
  round: NativeGroupPlan,
  { group, cookie }: { group: number; cookie: string },
): NativeGroupPlan {
  const plans = round.plans.slice(0, 1).map(plan => ({
    ...standbyOf(plan, cookie),
    argv: [plan.file, '-u', '-c', 'pass'],
    stdin: 'null' as const,
    stdout: { to: 'null' } as const,
    stderr: { to: 'null' } as const,
    standbyWords: prepareMessage([]),
  }));
  return { ...round, group, cookie, parks: true, plans };
}

/** The round's plan for standbys that take it over: they keep their number and their cookie. */
export function takenPlan(
  round: NativeGroupPlan,
  { group, cookie }: Pick<NativeGroupPlan, 'group' | 'cookie'>,
): NativeGroupPlan {
  const plans = round.plans.map(plan => ({ ...plan, env: withCookie(plan.env, cookie) }));
  return { ...round, group, cookie, plans };
}

/** What each standby gets to be the worker of a taken plan. */
export function orderMessages(taken: NativeGroupPlan): Buffer[] {
  return taken.plans.map(plan =>
    encodeMessage([
      ['type', 'order'],
      version,
      ...plan.env.map(entry => ['env', bytesOf(entry)] as const),
      ...plan.argv.map(argument => ['argv', bytesOf(argument)] as const),
      ...[plan.stdout, plan.stderr].flatMap((stream, index) =>
        isReplaced(stream) ? [['stream', String(index + 1)] as const] : [],
      ),
    ]),
  );
}

/** Why standbys aren't for these workers; absent: they are. */
export function misfit(standbys: NativeGroupPlan, round: NativeGroupPlan): string | undefined {
  if (standbys.plans.length !== round.plans.length) return 'there are more or fewer workers';
  for (const [localRank, plan] of round.plans.entries()) {
    const standby = standbys.plans[localRank];
    const mine = standbyOf(plan, standbys.cookie);
    const name = standby && differingVariable(standby.env, mine.env);
    if (name !== undefined) return `the environment has another ${name}`;
    if (standby === undefined || apartFromEnv(standby) !== apartFromEnv(mine))
      return 'workers are started in another way';
  }
  return undefined;
}

/** A cold round whose worker of local rank 0 records its imports. */
export function learningPlan(
  round: NativeGroupPlan,
  record: Parameters<typeof learningEnv>[1],
): NativeGroupPlan {
  const varying = [...new Set([...perRound, cookieVariable, ...differingVariables(round)])];
  const plans = round.plans.map((plan, localRank) => {
    if (localRank !== 0) return plan;
    const own = learningEnv(valueIn(plan.env, 'PYTHONPATH'), record, varying);
    return { ...plan, env: withOwn(plan.env, own) };
  });
  return { ...round, plans };
}

function standbyOf(plan: NativePlan, cookie: string): NativePlan {
  const own = standbyEnv(valueIn(plan.env, 'PYTHONPATH'), descriptor);
  return { ...plan, env: withOwn(withCookie(plan.env, cookie), own) };
}

function withOwn(env: readonly string[], own: Readonly<Record<string, string>>): string[] {
  const inherited = env.filter(entry => !Object.hasOwn(own, nameOf(entry)));
  return [...inherited, ...Object.entries(own).map(([name, value]) => `${name}=${value}`)];
}

function prepareMessage(acts: readonly Act[]): Buffer {
  return encodeMessage([
    ['type', 'prepare'],
    version,
    ...perRound.map(name => ['per-round', name] as const),
    ...acts.map(([kind, text]) => [kind, bytesOf(text)] as const),
  ]);
}

function isReplaced({ to }: NativeStream): boolean {
  return to === 'pipe' || to === 'file';
}

function nameOf(entry: string): string {
  return entry.slice(0, entry.indexOf('='));
}

function valueIn(env: readonly string[], name: string): string | undefined {
  return env.find(entry => nameOf(entry) === name)?.slice(name.length + 1);
}

function withCookie(env: readonly string[], cookie: string): string[] {
  return env.map(entry =>
    nameOf(entry) === cookieVariable ? `${cookieVariable}=${cookie}` : entry,
  );
}

function differingVariable(some: readonly string[], others: readonly string[]): string | undefined {
  const kept = (env: readonly string[]): string[] =>
    env.filter(entry => !perRound.includes(nameOf(entry)));
  const [one, other] = [new Set(kept(some)), new Set(kept(others))];
  const differing = [...one].find(entry => !other.has(entry)) ?? [...other].find(e => !one.has(e));
  return differing === undefined ? undefined : nameOf(differing);
}

/** Variables that not all workers of a round have, or not with the same value. */
function differingVariables({ plans }: NativeGroupPlan): string[] {
  const counts = new Map<string, number>();
  for (const entry of plans.flatMap(({ env }) => env))
    counts.set(entry, (counts.get(entry) ?? 0) + 1);
  return [...counts].flatMap(([entry, count]) => (count < plans.length ? [nameOf(entry)] : []));
}

function apartFromEnv({ env: _, standbyWords: __, stdout, stderr, ...plan }: NativePlan): string {
  return JSON.stringify([Object.entries(plan).sort(), stdout.to, stderr.to]);
}
