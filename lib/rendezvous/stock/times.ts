import { MalformedState, type Time } from './values.js';

/**
 * Python's `datetime` as pickles have it: year (two bytes), month, day, hour, minute, second and microsecond (three bytes).
 *
 * @source CPython 3.11, Lib/datetime.py, datetime._getstate
 */

const fieldBytes = 10;
/** Of the month: the second of two hours that a change of summer time makes one. UTC has none. */
const foldBit = 0x80;

/** @throws MalformedState */
export function timeOf(fields: Buffer, isAware: boolean): Time {
  const time = { is: 'time', fields, isAware } as const;
  // Date takes month 13 for the next year's first, and Python refuses it.
  const isOfSize = fields.length === fieldBytes;
  const isPossible = isOfSize && fields.readUInt16BE(0) > 0 && fields.readUIntBE(7, 3) < 1_000_000;
  if (!isPossible || !fieldsAt(millisecondsOf(time)).equals(wholeSeconds(fields)))
    throw new MalformedState(`${fields.toString('hex')} is no time`);
  return time;
}

/** @param atMs since 1970, by the node's clock; what's below a microsecond is left out */
export function timeAt(atMs: number, isAware: boolean): Time {
  const microseconds = Math.floor(atMs * 1000);
  const seconds = Math.floor(microseconds / 1_000_000);
  const fields = fieldsAt(seconds * 1000);
  fields.writeUIntBE(microseconds - seconds * 1_000_000, 7, 3);
  return { is: 'time', fields, isAware };
}

/** Milliseconds since 1970, to the microsecond. */
export function millisecondsOf({ fields }: Time): number {
  if (fields.length !== fieldBytes) return Number.NaN;
  const date = new Date(0);
  // Date.UTC takes the years below 100 for those of the twentieth century.
  date.setUTCFullYear(fields.readUInt16BE(0), (fields.readUInt8(2) & ~foldBit) - 1, fields[3]);
  date.setUTCHours(fields.readUInt8(4), fields[5], fields[6]);
  return date.getTime() + fields.readUIntBE(7, 3) / 1000;
}

/** The fields of a time, without its microseconds. */
function fieldsAt(atMs: number): Buffer {
  const fields = Buffer.alloc(fieldBytes);
  const date = new Date(Math.floor(atMs));
  const year = date.getUTCFullYear();
  // Python's years: 1 to 9999. NaN isn't among them either.
  if (!(year >= 1 && year <= 9999)) return fields;
  fields.writeUInt16BE(year, 0);
  fields.set(
    [date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes()],
    2,
  );
  fields.writeUInt8(date.getUTCSeconds(), 6);
  return fields;
}

function wholeSeconds(fields: Buffer): Buffer {
  const whole = Buffer.from(fields);
  whole.writeUInt8(whole.readUInt8(2) & ~foldBit, 2);
  return whole.fill(0, 7);
}
