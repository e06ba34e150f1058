import { join } from 'node:path';
import type { AgentEvent } from '../../events.js';
import type { NativeGroupPlan } from '../../native/plan.js';
import { usualModules } from '../../options/standby.js';
import { type Act, actsOf, type Learned, learnedFrom, modulesOf } from '../../preload/learned.js';
import { openRecord, type Record } from '../../system/record.js';
import { atMost } from '../../util/deferred.js';
import type { Job } from '../../workers/job.js';
import {
  argsMark,
  type Kept,
  type KeptPlace,
  keptPlace,
  loadKept,
  saveKept,
  whyNotKept,
} from './kept.js';
import { learningPlan } from './plans.js';

/** What a node's standbys import: what somebody has named, what a round was seen to import, or what an earlier run has kept of that. */
export interface Imports {
  /** Looks for what an earlier run has kept; resolves when that's known. No round waits for it. @param onFound called with the list's path */
  begin(onFound: (path: string) => void): Promise<void>;
  /** The plan for a round that starts cold: a worker of the first is learned from. What was kept may be of other arguments. */
  learning(plan: NativeGroupPlan): NativeGroupPlan;
  /** What standbys of the first round do beforehand; absent: nobody has named it, and no earlier run with these arguments has kept it. */
  beforeAll(): readonly Act[] | undefined;
  /** What standbys that are made now do beforehand; or why there can't be any. */
  wanted(): readonly Act[] | { readonly unsafe: string };
  /** Why standbys that have done what was wanted aren't for this script after all, as far as it's seen by now; absent: they are. */
  misfit(): string | { readonly unsafe: string } | undefined;
  /** What was wanted is no good. @returns whether there's less that could be */
  giveUp(): boolean;
  /** Standbys that have done what was wanted wait. @param files what they have loaded */
  done(files: readonly string[]): void;
  roundOver(): void;
  /** Resolves when a list that's being written is there; on a dead disk a second later. */
  close(): Promise<void>;
}

/** What a run's end waits for a list. */
const closeMs = 1000;

export function createImports(
  job: Job,
  { tell, nowMs }: { tell(event: AgentEvent): void; nowMs(): number },
): Imports {
  const given = job.settings.standbyModules;
  let place: KeptPlace | undefined;
  let kept: Kept | undefined;
  let record: Record | undefined;
  /** The last that was asked for, of the record, and of what was kept. */
  let learned: Learned | undefined;
  /** What the last standbys were told to do. */
  let told: readonly Act[] = [];
  let isKnown = given !== undefined;
  let isLess = false;
  let saved: Kept | undefined;
  let saving: Promise<void> | undefined;
  let isTold = false;

  async function find(onFound: (path: string) => void): Promise<void> {
    const at = keptPlace(job);
    if (at === undefined) return;
    place = at;
    try {
      const found = await loadKept(at);
      if (found === undefined) return;
      if (found.isCurrent && !found.kept.replays) kept = found.kept;
      onFound(join(at.folder, at.name));
    } catch (error) {
      tellTrouble(error, at);
    }
  }

  function tellTrouble(error: unknown, at: KeptPlace): void {
    if (isTold) return;
    isTold = true;
    tell({ event: 'imports-not-kept', reason: whyNotKept(error, at), atMs: nowMs() });
  }

  function save(files: readonly string[]): void {
    if (learned === undefined || place === undefined) return;
    const args = argsMark(job);
    const list = listFor(args, learned, seen(), kept);
    if (list === undefined) return;
    const { acts, own } = list;
    const modules = modulesOf(acts);
    const replays = acts.length > modules.length;
    const last = saved ?? kept;
    const isThere = last?.replays === replays && last.modules.length >= modules.length;
    if (isThere && last.args === args) return;
    saved = { modules, replays, own, files, args };
    const at = place;
    saving = saveKept(at, saved).catch(error => tellTrouble(error, at));
  }

  function seen(): Learned | undefined {
    return record === undefined ? undefined : learnedFrom(record.read());
  }

  /** What was seen, and behind it what was kept. With nothing but its start the script is still at its beginning. */
  function known(): Learned | undefined {
    const now = seen();
    if (kept === undefined) return now?.unsafe !== undefined || now?.acts.length ? now : undefined;
    return now === undefined ? { acts: actsOf(kept.modules), own: kept.own } : withKept(now, kept);
  }

  return {
    async begin(onFound) {
      if (given === undefined) await find(onFound);
    },
    beforeAll() {
      if (given !== undefined) return actsOf(given);
      // With others the script may do what the list doesn't say, and there's nothing yet that it's seen to do.
      if (kept === undefined || kept.args !== argsMark(job)) return undefined;
      // A round that starts cold after all is learned from.
      learned = known();
      told = learned?.acts ?? [];
      return told;
    },
    learning(plan) {
      if (isKnown) return plan;
      record?.close();
      record = openRecord();
      return record === undefined ? plan : learningPlan(plan, record);
    },
    wanted() {
      isKnown = true;
      if (given !== undefined) return actsOf(given);
      learned = known();
      if (learned?.unsafe !== undefined) return { unsafe: learned.unsafe };
      const acts = learned?.acts ?? actsOf(usualModules);
      told = isLess ? acts.filter(isUsual) : acts;
      return told;
    },
    misfit() {
      const now = seen();
      return now === undefined ? undefined : whyMisfit(told, now);
    },
    giveUp() {
      if (given !== undefined || isLess || learned === undefined) return false;
      isLess = true;
      return true;
    },
    done(files) {
      if (!isLess) save(files);
    },
    roundOver() {
      if (saved === undefined) return;
      // It may have gone on to import.
      const now = known();
      if (now === undefined || now.unsafe !== undefined) return;
      learned = now;
      save(saved.files);
    },
    async close() {
      record?.close();
      record = undefined;
      if (saving !== undefined) await atMost(closeMs, saving);
    },
  };
}

/** What was seen in this run counts; what an earlier one has kept comes behind it, unless the script has done what ends the list. */
export function withKept(now: Learned, kept: Kept): Learned {
  if (now.unsafe !== undefined || now.end !== undefined) return now;
  const seen = new Set(modulesOf(now.acts));
  const own = new Set(now.own.map(({ path }) => path));
  return {
    acts: [...now.acts, ...actsOf(kept.modules.filter(name => !seen.has(name)))],
    own: [...now.own, ...kept.own.filter(({ path }) => !own.has(path))],
  };
}

/**
 * What is kept for a run with these arguments: nothing that was kept for others, which says nothing of these.
 *
 * @param known what was seen, and behind it what was kept
 * @returns undefined for what isn't kept
 */
export function listFor(
  args: string,
  known: Learned,
  now: Learned | undefined,
  kept: Kept | undefined,
): Learned | undefined {
  if (kept === undefined || kept.args === args) return known;
  return now?.unsafe === undefined && now?.acts.length ? now : undefined;
}

/** Why standbys that have done these acts aren't what a script has turned out to be; absent: they are. */
export function whyMisfit(
  told: readonly Act[],
  now: Learned,
): string | { readonly unsafe: string } | undefined {
  if (now.unsafe !== undefined) return { unsafe: now.unsafe };
  const done = new Set(told.map(act => act.join(' ')));
  const missed = now.acts.find(act => act[0] !== 'module' && !done.has(act.join(' ')));
  if (missed !== undefined) {
    const [name] = missed[1].split('=', 1);
    return `the script has changed ${name} before an import since they were started`;
  }
  const seen = new Set(modulesOf(now.acts));
  return now.end !== undefined && modulesOf(told).some(name => !seen.has(name))
    ? now.end
    : undefined;
}

function isUsual([kind, name]: Act): boolean {
  return kind !== 'module' || usualModules.includes(name);
}
