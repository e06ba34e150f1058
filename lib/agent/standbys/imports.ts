import { join } from 'node:path';
import type { AgentEvent } from '../../events.js';
import type { NativeGroupPlan } from '../../native/plan.js';
import { usualModules } from '../../options/standby.js';
import { type Act, actsOf, type Learned, learnedFrom, modulesOf } from '../../preload/learned.js';
import { openRecord, type Record } from '../../system/record.js';
import type { Job } from '../../workers/job.js';
import { type Kept, type KeptPlace, keptPlace, loadKept, saveKept, whyNotKept } from './kept.js';
import { learningPlan } from './plans.js';

/** What a node's standbys import: what somebody has named, what a round was seen to import, or what an earlier run has kept of that. */
export interface Imports {
  /** Looks for what an earlier run has kept. Nobody waits for it. @param onFound called with the list's path */
  begin(onFound: (path: string) => void): void;
  /** The plan for a round that starts cold: a worker of it is learned from, where nothing is known. */
  learning(plan: NativeGroupPlan): NativeGroupPlan;
  /** What standbys that are made now do beforehand; or why there can't be any. */
  wanted(): readonly Act[] | { readonly unsafe: string };
  /** What was wanted is no good. @returns whether there's less that could be */
  giveUp(): boolean;
  /** Standbys that have done what was wanted wait. @param files what they have loaded */
  done(files: readonly string[]): void;
  roundOver(): void;
  close(): void;
}

export function createImports(
  job: Job,
  { tell, nowMs }: { tell(event: AgentEvent): void; nowMs(): number },
): Imports {
  const given = job.settings.standbyModules;
  let place: KeptPlace | undefined;
  let kept: Kept | undefined;
  let record: Record | undefined;
  /** The last that was asked for, of the record. */
  let learned: Learned | undefined;
  let isKnown = given !== undefined;
  let isLess = false;
  let saved: Kept | undefined;
  let isTold = false;

  async function find(onFound: (path: string) => void): Promise<void> {
    place = keptPlace(job);
    if (place === undefined) return;
    const at = place;
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
    const { acts, own } = learned;
    const modules = modulesOf(acts);
    if (saved !== undefined && saved.modules.length >= modules.length) return;
    saved = { modules, replays: acts.length > modules.length, own, files };
    const at = place;
    saveKept(at, saved).catch(error => tellTrouble(error, at));
  }

  function seen(): Learned | undefined {
    return record === undefined ? undefined : learnedFrom(record.read());
  }

  function lessOf(acts: readonly Act[]): readonly Act[] {
    return isLess ? acts.filter(isUsual) : acts;
  }

  return {
    begin(onFound) {
      if (given === undefined) void find(onFound);
    },
    learning(plan) {
      if (isKnown || kept !== undefined) return plan;
      record?.close();
      record = openRecord();
      return record === undefined ? plan : learningPlan(plan, record);
    },
    wanted() {
      isKnown = true;
      const named = given ?? kept?.modules;
      if (named !== undefined) return lessOf(actsOf(named));
      const now = seen();
      if (now?.unsafe !== undefined) return { unsafe: now.unsafe };
      // With nothing but its start the script is still at its beginning.
      learned = now !== undefined && now.acts.length > 0 ? now : undefined;
      return lessOf(learned?.acts ?? actsOf(usualModules));
    },
    giveUp() {
      if (given !== undefined || isLess || (learned === undefined && kept === undefined))
        return false;
      isLess = true;
      return true;
    },
    done(files) {
      if (!isLess) save(files);
    },
    roundOver() {
      if (saved === undefined) return;
      // It may have gone on to import.
      const now = seen();
      if (now === undefined || now.unsafe !== undefined) return;
      learned = now;
      save(saved.files);
    },
    close() {
      record?.close();
      record = undefined;
    },
  };
}

function isUsual([kind, name]: Act): boolean {
  return kind !== 'module' || usualModules.includes(name);
}
