/** Times, as people write and read them. */

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

/** `85 ms`, `12.4 s`, `3 min 07 s`, `2 h 05 min`. */
export function duration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;

  const seconds = Math.round(ms / 1000);
  const two = (n: number): string => String(n).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** The most that a timer takes, Node's and ours: 24.8 days. */
export const maxTimerMs = 2 ** 31 - 1;
