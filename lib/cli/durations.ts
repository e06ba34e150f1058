import { maxTimerMs } from '../util/timers.js';

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

export const acceptedDuration = 'a time like 500ms, 30s, 10m or 2h';

/** `500ms`, `1.5s`, `10m`, `2h`; a bare number is seconds. Undefined if it's none of them. */
export function parseDuration(text: string): number | undefined {
  const [, number, unit = 's'] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text.trim()) ?? [];
  if (number === undefined) return undefined;
  return Math.min(Number(number) * (units[unit] ?? 0), maxTimerMs);
}
