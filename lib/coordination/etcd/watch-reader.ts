import { CoordinationError, type Revision, type WatchEvent } from '../coordination.js';
import { readEvent, revisionOf, type WatchMessage } from './wire.js';

/** What a message of a watch's stream amounts to. */
export type Reading =
  /** Whole revisions, none of them told before; maybe none. */
  | { readonly told: readonly WatchEvent[] }
  | { readonly ended: CoordinationError }
  /** The member won't go on, for this reason; another may. */
  | { readonly cancelled: string };

/** Turns messages of any number of streams, one after the other, into revisions in order. */
export interface WatchReader {
  /** The first revision that wasn't told yet: where a new stream has to begin. */
  next(): Revision;
  read(message: WatchMessage): Reading;
  /** A new stream begins, at `next`. */
  restart(): void;
}

/** @param what for messages: `watch of "a/"` */
export function createWatchReader(what: string, from: Revision): WatchReader {
  let next = from;
  /** Of a revision whose other events are still to come. */
  let held: readonly WatchEvent[] = [];

  return {
    next: () => next,
    restart() {
      held = [];
    },
    read(message) {
      if (Number(message.compact_revision ?? 0) > 0) {
        const kept = `etcd keeps changes from revision ${message.compact_revision} on only`;
        const error = new CoordinationError(
          'COMPACTED',
          `${what}: ${kept}, and revision ${next} was to come next; take a new snapshot`,
        );
        return { ended: error };
      }
      if (message.canceled) return { cancelled: message.cancel_reason ?? 'it gave no reason' };
      return { told: take(message) };
    },
  };

  function take({ events = [], created, fragment, ...message }: WatchMessage): WatchEvent[] {
    if (events.length === 0) {
      // A notification of progress: all up to there was told. After `created` there may be old ones to come.
      if (!created && held.length === 0) next = Math.max(next, revisionOf(message) + 1);
      return [];
    }
    // Some releases of etcd tell some of it twice (its issue 17247).
    const news = events.map(readEvent).filter(event => revisionOfEvent(event) >= next);
    const all = [...held, ...news];
    const last = all.at(-1);
    if (last === undefined) return [];

    const end = fragment ? revisionOfEvent(last) : Number.POSITIVE_INFINITY;
    held = all.filter(event => revisionOfEvent(event) >= end);
    const told = all.filter(event => revisionOfEvent(event) < end);
    const newest = told.at(-1);
    if (newest !== undefined) next = revisionOfEvent(newest) + 1;
    return told;
  }
}

function revisionOfEvent(event: WatchEvent): Revision {
  return event.type === 'put' ? event.entry.modified : event.modified;
}
