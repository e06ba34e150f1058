import { type Check, fieldsOf, milliseconds, oneOf } from './checks.js';

/** How workers are stopped. */

/** Why a group is stopped, as far as its grace period goes: `membership` also where another round was asked for. */
export const graceReasons = [
  'failure',
  'signal',
  'caller',
  'hang',
  'preempt',
  'membership',
] as const;
export type GraceReason = (typeof graceReasons)[number];

export interface StoppingOptions {
  /** Who gets the stop signal: the worker alone, or its whole process group. @default 'leader' for Python, 'group' for programs */
  readonly signalTarget?: 'leader' | 'group';
  /** Time from the stop signal to SIGKILL, by the reason of the stop. @default shutdownTimeoutMs for each */
  readonly graceMs?: Readonly<Partial<Record<GraceReason, number>>>;
}

export const stoppingDefaults = { graceMs: {} } as const;

export const stoppingChecks: Readonly<Record<keyof StoppingOptions, Check>> = {
  signalTarget: oneOf('leader', 'group'),
  graceMs: fieldsOf(
    Object.fromEntries(graceReasons.map(reason => [reason, milliseconds])),
    `milliseconds for ${graceReasons.join(', ')}`,
  ),
};
