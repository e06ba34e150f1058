import { maxTimerMs } from '../../util/timers.js';
import { repr } from './python-text.js';
import type { Values } from './values.js';

const units: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

export const acceptedDuration =
  'a time like 500ms, 30s, 10m, 2h or 1d, or seconds; 24 days at most';

/** `500ms`, `1.5s`, `10m`, `2h`, `1d`; a bare number is seconds. Undefined if it's none of them, or more than a timer takes. */
export function parseDuration(text: string): number | undefined {
  const [, number, unit = 's'] = /^(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|d)?$/.exec(text.trim()) ?? [];
  const ms = Number(number) * (units[unit] ?? 0);
  return ms <= maxTimerMs ? ms : undefined;
}

/** An option that is a time, as milliseconds. @throws CommandLineError */
export function durationOf(
  values: Values,
  dest: string,
  { aboveZero = false }: { readonly aboveZero?: boolean } = {},
): number | undefined {
  const text = values.text(dest);
  if (text === undefined) return undefined;
  const ms = durationIn(values, dest, text);
  return ms === 0 && aboveZero ? values.refuse(dest, 'not a time above 0', acceptedDuration) : ms;
}

/** @param text the option's value, or a part of it. @throws CommandLineError */
export function durationIn(values: Values, dest: string, text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  const why = text === values.text(dest) ? 'not a time' : `${repr(text)} isn't a time`;
  return values.refuse(dest, why, acceptedDuration);
}
