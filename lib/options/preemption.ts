import { type Check, milliseconds, secret, signalName, text } from './checks.js';

/** Notices that this machine will soon be taken away, and what follows from one. */
export interface PreemptionOptions {
  /** What every worker gets when the notice comes. @default none: they only see the store's notice word */
  readonly preemptSignal?: string;
  /** A file that's there is the notice. Its folder must exist. @default none */
  readonly preemptFile?: string;
  /**
   * Asked now and then: status 200 is the notice, unless the body is `FALSE`, `NONE` or empty. It's
   * asked as the metadata services of AWS (with its token) and Google want it. @default none
   */
  readonly preemptUrl?: string;
  /** Time from one answer of `preemptUrl` to the next question. @default 5000 */
  readonly preemptUrlIntervalMs?: number;
  /** Time from the notice to SIGTERM, whose grace period then begins. @default none: workers end when they end */
  readonly preemptLimitMs?: number;
}

export const preemptionDefaults = { preemptUrlIntervalMs: 5000 } as const;

export const preemptionChecks: Readonly<Record<keyof PreemptionOptions, Check>> = {
  preemptSignal: signalName,
  preemptFile: text,
  // It may have a token in it.
  preemptUrl: secret([
    value => typeof value === 'string' && /^https?:/.test(value) && URL.canParse(value),
    'a URL of http or https',
  ]),
  preemptUrlIntervalMs: milliseconds,
  preemptLimitMs: milliseconds,
};
