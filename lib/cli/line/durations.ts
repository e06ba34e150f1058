import { acceptedDuration, parseDuration } from '../../util/duration.js';
import type { Values } from '../options/spec.js';
import { repr } from './python-text.js';

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

/** An option that is so many of something per time, like 3/10m. @throws CommandLineError */
export function perTimeOf(
  values: Values,
  dest: string,
  { orOff = false }: { readonly orOff?: boolean } = {},
): { readonly count: number; readonly perMs: number } | undefined {
  const text = values.text(dest);
  if (text === undefined) return undefined;
  const [, count, time = ''] = /^([1-9]\d{0,8})\/(.*)$/.exec(text) ?? [];
  const perMs = parseDuration(time);
  if (count === undefined || perMs === undefined) {
    const accepted = `N/TIME, like 3/10m${orOff ? ', or off' : ''}`;
    return values.refuse(dest, `${text} is no number per time`, accepted);
  }
  return { count: Number(count), perMs };
}

/** @param text the option's value, or a part of it. @throws CommandLineError */
export function durationIn(values: Values, dest: string, text: string): number {
  const ms = parseDuration(text);
  if (ms !== undefined) return ms;
  const why = text === values.text(dest) ? 'not a time' : `${repr(text)} isn't a time`;
  return values.refuse(dest, why, acceptedDuration);
}
