import { type Check, fieldsOf, milliseconds } from './checks.js';

/** Why a group is stopped, as far as its grace period goes. */
export const graceReasons = [
  'failure',
  'signal',
  'caller',
  'hang',
  'preempt',
  'membership',
] as const;
export type GraceReason = (typeof graceReasons)[number];

export interface GraceOptions {
  /** Time from the stop signal to SIGKILL, by the reason of the stop. @default shutdownTimeoutMs for each */
  readonly graceMs?: Readonly<Partial<Record<GraceReason, number>>>;
}

export const graceDefaults = { graceMs: {} } as const;

export const graceChecks: Readonly<Record<keyof GraceOptions, Check>> = {
  graceMs: fieldsOf(
    Object.fromEntries(graceReasons.map(reason => [reason, milliseconds])),
    `milliseconds for ${graceReasons.join(', ')}`,
  ),
};
