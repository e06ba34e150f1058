import { native } from '../native/addon.js';

/** A moment on this machine's clock on the wall, each part as two digits or more. */
export interface LocalTime {
  readonly year: string;
  readonly month: string;
  readonly day: string;
  /** `05:38:29` */
  readonly clock: string;
}

/** @param ms since 1970, as Date has it */
export function localTime(ms: number): LocalTime {
  // Its parts in UTC are those on the wall.
  const time = new Date(ms + offsetMs(ms));
  const two = (n: number): string => String(n).padStart(2, '0');
  return {
    year: String(time.getUTCFullYear()),
    month: two(time.getUTCMonth() + 1),
    day: two(time.getUTCDate()),
    clock: [time.getUTCHours(), time.getUTCMinutes(), time.getUTCSeconds()].map(two).join(':'),
  };
}

function offsetMs(ms: number): number {
  try {
    return native().utcOffset(ms / 1000) * 1000;
  } catch {
    // No addon, which will be told soon enough: as Node has it.
    return -new Date(ms).getTimezoneOffset() * 60_000;
  }
}
