import { maxTimerMs } from './util/timers.js';

/** Whether a value of an option is acceptable, and what would be, for the one who gave it. */
export type Rule = readonly [fits: (value: unknown) => boolean, accepted: string];

export const text: Rule = [
  value => isText(value) && value !== '',
  'a text that has no NUL and is not empty',
];
export const texts: Rule = [
  value => isList(value) && value.every(isText),
  'a list of texts without NUL',
];
export const flag: Rule = [value => typeof value === 'boolean', 'true or false'];

export const milliseconds: Rule = [
  value => typeof value === 'number' && value >= 0 && value <= maxTimerMs,
  `milliseconds from 0 to ${maxTimerMs}`,
];

export function oneOf(...words: readonly string[]): Rule {
  return [value => words.includes(value as string), words.map(word => `'${word}'`).join(' or ')]; // includes compares anything
}

export function isText(value: unknown): value is string {
  return typeof value === 'string' && !value.includes('\0');
}

export function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isWhole(value: unknown, from: number, to = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && (value as number) >= from && (value as number) <= to; // isSafeInteger has just told
}
