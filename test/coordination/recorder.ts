import type {
  Coordination,
  CoordinationError,
  Revision,
  WatchEvent,
} from '../../lib/coordination/coordination.js';

/** What a watch has told so far. */
export interface Recorder {
  readonly events: readonly WatchEvent[];
  /** As they were told: each of one revision, or of several whole ones. */
  readonly batches: readonly (readonly WatchEvent[])[];
  /** Resolves once it has told of this change, as textOf() says it, or of this revision or a later one. Rejects if it ends before. */
  told(what: string | Revision): Promise<void>;
  /** Resolves when the watch ends by itself. */
  readonly ended: Promise<CoordinationError>;
  close(): void;
}

export function record(coordination: Coordination, prefix: string, from: Revision): Recorder {
  const batches: (readonly WatchEvent[])[] = [];
  const events: WatchEvent[] = [];
  const waiting = new Set<() => void>();
  let onEnd!: (error: CoordinationError) => void;
  const ended = new Promise<CoordinationError>(resolve => {
    onEnd = resolve;
  });
  const watch = coordination.watch(prefix, from, {
    changed(batch) {
      batches.push(batch);
      events.push(...batch);
      for (const look of waiting) look();
    },
    ended: onEnd,
  });
  const isOf = (event: WatchEvent, what: string | Revision) =>
    typeof what === 'string' ? textOf(event) === what : revisionOf(event) >= what;

  return {
    events,
    batches,
    ended,
    close: () => watch.close(),
    told(what) {
      const found = new Promise<void>(resolve => {
        const look = () => {
          if (!events.some(event => isOf(event, what))) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      });
      return Promise.race([found, ended.then(error => Promise.reject(error))]);
    },
  };
}

export function revisionOf(event: WatchEvent): Revision {
  return event.type === 'put' ? event.entry.modified : event.modified;
}

/** `put a/1=x` or `delete a/1`: what is easy to compare. */
export function textOf(event: WatchEvent): string {
  if (event.type === 'delete') return `delete ${event.key}`;
  return `put ${event.entry.key}=${event.entry.value}`;
}
