import { join } from 'node:path';
import type { NativeEvent } from '../../native/events.js';
import type { NativeGroupPlan, NativePlan } from '../../native/plan.js';
import type { NativeSupervisor } from '../../native/supervisor.js';
import { standbyFolder } from '../../preload/standby.js';
import { randomName } from '../../util/random.js';
import { inheritedEntries } from '../../workers/env.js';
import type { Job } from '../../workers/job.js';
import { tidyUpOf } from '../../workers/tidy-up.js';
import { discarding } from './plans.js';

/** A process beside the first round's start that has the kernel read what an earlier run has loaded. Nobody waits for it. */
export interface ReadAhead {
  /** @param list a path that `kept.ts` has found */
  start(list: string): void;
  /** Whether it's of this process that something is told. */
  onEvent(event: NativeEvent): boolean;
  /** It's ended, and none is started any more. */
  close(): void;
}

/** A disk that takes longer has its round's own reads to do. */
const boundMs = 60_000;
/** Its group's number: below those of standbys, and above all rounds. */
const readAheadGroup = 2 ** 40 - 1;
/** Class and level of ioprio_set(2): the disk's time that nobody else wants. */
const idle = 3 << 13;

export function createReadAhead(
  job: Job,
  { supervisor }: { supervisor(): NativeSupervisor },
): ReadAhead {
  let limit: NodeJS.Timeout | undefined;
  let isClosed = false;

  function end(): void {
    if (limit === undefined) return;
    over();
    supervisor().stopGroup(readAheadGroup, discarding);
  }

  function over(): void {
    clearTimeout(limit);
    limit = undefined;
  }

  return {
    start(list) {
      if (isClosed || job.python === undefined) return;
      try {
        supervisor().startGroup(planOf(job, job.python.path, list));
      } catch {
        // The round will say what's wrong with the machine, if it meets the same.
        return;
      }
      limit = setTimeout(end, boundMs);
    },
    onEvent(event) {
      if (!('group' in event) || event.group !== readAheadGroup) return false;
      if (event.event === 'ended' || event.event === 'start-failed') over();
      return true;
    },
    close() {
      isClosed = true;
      end();
    },
  };
}

function planOf(job: Job, python: string, list: string): NativeGroupPlan {
  const cookie = randomName(24);
  const own = { REGROUP_COOKIE: cookie };
  const plan: NativePlan = {
    file: python,
    // Neither the user's own modules nor what `site` brings have anything to do with it.
    argv: [python, '-I', '-S', join(standbyFolder(), '_regroup_read_ahead.py'), list],
    env: [...inheritedEntries(job.env, own), `REGROUP_COOKIE=${cookie}`],
    nice: 19,
    ioPriority: idle,
    stdin: 'null',
    stdout: { to: 'null' },
    stderr: { to: 'null' },
  };
  const tidyUp = tidyUpOf(job.settings);
  return { group: readAheadGroup, cookie, plans: [plan], tailBytes: 0, drainMs: 0, tidyUp };
}
