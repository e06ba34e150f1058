import type { EventRecord } from '../../events/recorder.js';

/**
 * The clock of a node's records: one that neither jumps nor goes back within a run, whatever is done to the one on the wall.
 * Times are milliseconds of Unix time.
 */
export interface NodeClock {
  /** When a record's event happened. Records come in the order of their file. */
  timeOf(record: EventRecord): number;
}

/** A jump of the wall's clock that's none: times are written in whole milliseconds. */
const jitterMs = 1000;

export function nodeClock(): NodeClock {
  /** Unix time minus CLOCK_MONOTONIC, as the trace has it. */
  let aheadMs: number | undefined;
  /** The same, as the last record has it. */
  let lastAheadMs = 0;
  let lastAtMs = 0;
  return {
    timeOf(record) {
      const wallMs = Date.parse(record.time);
      // It has no other time: that of the record before it tells how much the wall's clock is wrong by.
      if (record.event === 'log-ended') return wallMs + (aheadMs ?? 0) - lastAheadMs;
      const { atMs } = record;
      const nowAheadMs = wallMs - atMs;
      // What follows is later by both clocks: the machine was asleep, has booted, or its time has been set ahead.
      const isLater = aheadMs === undefined || nowAheadMs > aheadMs + jitterMs;
      // Another boot, of a machine that has lost its time.
      const isOtherBoot = atMs < lastAtMs - jitterMs && nowAheadMs < lastAheadMs - jitterMs;
      if (isLater || isOtherBoot) aheadMs = nowAheadMs;
      lastAheadMs = nowAheadMs;
      lastAtMs = atMs;
      return atMs + (aheadMs ?? nowAheadMs);
    },
  };
}
