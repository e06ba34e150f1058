import { maxTimerMs } from '../../util/timers.js';
import { pythonFloat } from '../python-text.js';
import type { Values } from '../values.js';

const accepted = `seconds from 0 to ${Math.floor(maxTimerMs / 1000)}`;

/** An option in seconds, as milliseconds. @throws CommandLineError */
export function millisecondsOf(values: Values, dest: string): number | undefined {
  const text = values.text(dest);
  return text === undefined ? undefined : toMilliseconds(values, dest, text);
}

/** @param text the option's value, or a part of it. @throws CommandLineError */
export function toMilliseconds(values: Values, dest: string, text: string): number {
  const ms = (pythonFloat(text) ?? Number.NaN) * 1000;
  if (ms >= 0 && ms <= maxTimerMs) return ms;
  return values.refuse(dest, 'no such time', accepted);
}
