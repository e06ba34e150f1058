import { type Check, flag, milliseconds } from './checks.js';

/** What happens to processes that workers have started, and that outlive them. */
export interface TidyUpOptions {
  /**
   * From the end of a round's last worker to SIGKILL, where not all have ended well: until then such processes may end by
   * themselves, and the next round waits for them. SIGTERM comes after a tenth of a second, or in the middle of this time
   * for one that is busy. Where all have ended well they have five seconds. @default 500
   */
  readonly tidyGraceMs?: number;
  /**
   * Whether a process in a session of its own that holds no GPU lives on. One with REGROUP_LEAVE=1 in its environment
   * does so in any case. @default false
   */
  readonly leaveDetached?: boolean;
}

export const tidyUpDefaults = { tidyGraceMs: 500, leaveDetached: false } as const;

export const tidyUpChecks: Readonly<Record<keyof TidyUpOptions, Check>> = {
  tidyGraceMs: milliseconds,
  leaveDetached: flag,
};
