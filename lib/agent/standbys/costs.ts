import type { Need } from '../../machine/room.js';
import type { Message } from '../../preload/standby.js';

/** What standbys take, as the last that waited have told it. */
export interface Costs {
  /** What one has said when it waited. */
  note(localRank: number, message: Message): void;
  /** What so many would take. */
  need(count: number): Need;
  /** By local rank; undefined if one of so many couldn't tell. */
  memoryBytes(count: number): readonly number[] | undefined;
}

/** As long as none has told: one of torch 2.13 takes some 160 MB and 8 threads. */
const usual = { bytes: 200e6, tasks: 16 };

export function createCosts(): Costs {
  const told: Partial<Need>[] = [];
  return {
    note(localRank, message) {
      const numberOf = (key: string): number => Number(message.get(key)?.[0]?.toString());
      const [bytes, tasks] = [numberOf('memory'), numberOf('threads')];
      told[localRank] = { ...(bytes > 0 ? { bytes } : {}), ...(tasks > 0 ? { tasks } : {}) };
    },
    need(count) {
      const each = Array.from({ length: count }, (_, at) => ({ ...usual, ...told[at] }));
      return {
        bytes: each.reduce((sum, { bytes }) => sum + bytes, 0),
        tasks: each.reduce((sum, { tasks }) => sum + tasks, 0),
      };
    },
    memoryBytes(count) {
      const known = told.slice(0, count).flatMap(each => each?.bytes ?? []);
      return known.length === count ? known : undefined;
    },
  };
}
