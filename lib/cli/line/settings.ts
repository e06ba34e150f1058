import { didYouMean } from '../../util/nearest.js';
import { signalName, signalNumber } from '../../util/signals.js';
import type { CommandName, Env, GivenOption, Values } from '../options/spec.js';
import { oneLine, refusal } from './command-line-error.js';
import { repr } from './python-text.js';

/** torchrun's words for LOGLEVEL, by Python's numbers. */
export type LogLevel = number;
export const logLevels = { DEBUG: 10, INFO: 20, WARNING: 30, ERROR: 40, CRITICAL: 50 } as const;

/** Something to tell before the launch. */
export interface Notice {
  readonly level: keyof typeof logLevels;
  readonly text: string;
}

/** What the command line asks of the command itself, not of `launch`. */
export interface CliSettings {
  /** Signals that are forwarded to workers and end the job with exit code 1. */
  readonly signalsToHandle: readonly NodeJS.Signals[];
  /** Signals that are passed on to workers and end nothing. */
  readonly forwardSignals: readonly NodeJS.Signals[];
  /** Signals that some option names. They're caught even if whoever started us ignores them. */
  readonly namedSignals: readonly NodeJS.Signals[];
  readonly exitCode: 'torchrun' | 'worker';
  readonly logLevel: LogLevel;
  readonly notices: readonly Notice[];
  /** What was given, by option or variable, as it was written: for `--dry-run`. */
  readonly given: readonly GivenOption[];
  /** torchrun's words for what is launched, for the banner at INFO; empty is what chance decides. */
  readonly banner: readonly (readonly [name: string, value: string])[];
}

export function parseSignals(
  values: Values,
  warn: (text: string) => void,
): readonly NodeJS.Signals[] {
  const signals = new Set<NodeJS.Signals>();
  for (const text of (values.text('signals_to_handle') ?? '').split(',')) {
    const name = text.trim();
    if (isCatchable(name)) signals.add(name);
    else warn(`Failed to register signal handler for ${oneLine(text)}`);
  }
  return [...signals];
}

/** Settings without the signals that stay ignored, as they were when we were started. */
export function withoutIgnored(
  settings: CliSettings,
  ignored: readonly NodeJS.Signals[],
): CliSettings {
  const isHandled = (signal: NodeJS.Signals): boolean =>
    settings.namedSignals.includes(signal) || !ignored.includes(signal);
  return { ...settings, signalsToHandle: settings.signalsToHandle.filter(isHandled) };
}

/** Nobody can catch SIGKILL and SIGSTOP, and Node has no listeners for real-time signals. */
export function isCatchable(name: string): name is NodeJS.Signals {
  const number = signalNumber(name);
  if (number === undefined || number > 31 || signalName(number) !== name) return false;
  return name !== 'SIGKILL' && name !== 'SIGSTOP';
}

export function parseLogLevel(command: CommandName, env: Env): LogLevel {
  const text = env.LOGLEVEL ?? 'WARNING';
  const named: Readonly<Record<string, number>> = { ...logLevels, WARN: 30, FATAL: 50, NOTSET: 0 };
  // Python knows upper case only; nobody means anything else by the lower one.
  const level = named[text.toUpperCase()];
  if (level !== undefined) return level;
  throw refusal(
    command,
    `LOGLEVEL=${text}`,
    `Unknown level: ${repr(text)}${didYouMean(text, Object.keys(logLevels))}`,
    Object.keys(logLevels).join(', '),
  );
}
