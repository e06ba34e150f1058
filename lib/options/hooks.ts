import { type Check, fieldsOf, milliseconds, secretText } from './checks.js';

/** When a hook runs: before a round starts, before its workers are stopped, when none of them is left. */
export const hookNames = ['pre-start', 'pre-stop', 'post-round'] as const;
export type HookName = (typeof hookNames)[number];

/** Commands for `/bin/sh -c`, run by the agent itself, once on each node. */
export interface Hooks {
  /** Before each round. If it fails, or takes too long, nothing is started. @default none */
  readonly preStart?: string;
  /** Before the stop signal goes to live workers; SIGKILL waits for nobody. @default none */
  readonly preStop?: string;
  /** When a round's last worker is gone, before the next round or the run's result. @default none */
  readonly postRound?: string;
  /** Time after which a hook's process group is killed. @default 10_000 */
  readonly timeoutMs?: number;
}

export interface HookOptions {
  readonly hooks?: Hooks;
}

export const defaultHookMs = 10_000;

const keys: Readonly<Record<HookName, 'preStart' | 'preStop' | 'postRound'>> = {
  'pre-start': 'preStart',
  'pre-stop': 'preStop',
  'post-round': 'postRound',
};

/** The command of a hook, if there is one. */
export function hookCommand(hooks: Hooks | undefined, name: HookName): string | undefined {
  return hooks?.[keys[name]];
}

const fields: Readonly<Record<keyof Hooks, Check>> = {
  preStart: secretText,
  preStop: secretText,
  postRound: secretText,
  timeoutMs: milliseconds,
};

export const hookChecks: Readonly<Record<keyof HookOptions, Check>> = {
  hooks: fieldsOf(
    fields,
    '{ preStart?, preStop?, postRound?, timeoutMs? }: commands, and milliseconds',
  ),
};
