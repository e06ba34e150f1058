import {
  type Coordination,
  CoordinationError,
  type Entry,
  type Watch,
  type WatchEvent,
} from '../coordination/coordination.js';
import { shown } from '../util/shown.js';
import { draftOf, emptyView, keys, type View } from './job/shared.js';

/** What all keys of a job begin with; those of no other one do, whatever slashes are in their ids. */
export function prefixOf(runId: string): string {
  return `/regroup/${runId.replaceAll('%', '%25').replaceAll('/', '%2F')}/`;
}

/** A job's table as it is, followed change by change. */
export interface Table {
  close(): void;
}

/** Before the table is read again that couldn't be. */
const pauseMs = 200;
/** Keys that are removed at once: engines take no more than 128 comparisons and changes. */
const perTransaction = 60;

/**
 * Reads what lies below a prefix, and goes on with each change.
 *
 * @param seen called with the whole of it, each time, and whether it was read anew: revisions may be another server's
 * @param failed called once, with what trying again won't mend
 */
export function followTable(
  coordination: Coordination,
  prefix: string,
  seen: (view: View, isAnew: boolean) => void,
  failed: (error: unknown) => void,
): Table {
  let view = emptyView;
  let watch: Watch | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isOver = false;

  async function read(): Promise<void> {
    try {
      const { revision, entries } = await coordination.get(prefix);
      if (isOver) return;
      const table = coordination.table?.();
      const draft = draftOf({ ...emptyView, ...(table === undefined ? {} : { table }) }, prefix);
      for (const entry of entries) parsed(entry.key, () => draft.put(entry));
      view = draft.view(revision);
      watch = coordination.watch(prefix, revision + 1, { changed, ended });
      seen(view, true);
    } catch (error) {
      ended(error);
    }
  }

  function changed(events: readonly WatchEvent[]): void {
    try {
      const draft = draftOf(view, prefix);
      for (const event of events) {
        if (event.type === 'delete') {
          draft.delete(event.key);
          continue;
        }
        const { key, modified } = event.entry;
        parsed(prefix, () => draft.put(event.entry));
        // It may be removed within the same batch, where the job has ended long ago.
        if (key !== prefix + keys.verdict) continue;
        view = draft.view(modified);
        seen(view, false);
      }
      view = draft.view(revisionOf(events) ?? view.revision);
      seen(view, false);
    } catch (error) {
      watch?.close();
      ended(error);
    }
  }

  function ended(error: unknown): void {
    if (isOver) return;
    watch = undefined;
    if (isHopeless(error)) {
      isOver = true;
      failed(error);
      return;
    }
    timer = setTimeout(() => void read(), pauseMs);
  }

  void read();
  return {
    close() {
      isOver = true;
      clearTimeout(timer);
      watch?.close();
    },
  };
}

/** Of the last one. */
function revisionOf(events: readonly WatchEvent[]): number | undefined {
  const last = events.at(-1);
  return last?.type === 'put' ? last.entry.modified : last?.modified;
}

/** What others have written must be JSON. @throws CoordinationError: PROTOCOL */
function parsed(key: string, read: () => void): void {
  try {
    read();
  } catch (cause) {
    const why = `${shown(key)} holds something else than an agent of regroup writes; give the job another --rdzv-id`;
    throw new CoordinationError('PROTOCOL', why, { cause });
  }
}

/** Removes what's left of a job that nobody takes part in any more. What somebody changes meanwhile stays. */
export async function leaveNothing(coordination: Coordination, prefix: string): Promise<void> {
  try {
    const { entries } = await coordination.get(prefix);
    if (entries.some(({ lease }) => lease !== undefined)) return;
    // What another run of the same id would take for its own goes first.
    const isOwn = ({ key }: Entry): boolean => !key.slice(prefix.length).includes('/');
    const ordered = [...entries.filter(isOwn), ...entries.filter(entry => !isOwn(entry))];
    for (let at = 0; at < ordered.length; at += perTransaction) {
      const some = ordered.slice(at, at + perTransaction);
      await coordination.txn(
        some.map(({ key, modified }) => ({ key, modified })),
        some.map(({ key }) => ({ delete: key })),
      );
    }
  } catch {
    // Nobody is there to be asked, or nothing is: it ended with its server.
  }
}

/** Whether trying again is in vain. */
export function isHopeless(error: unknown): boolean {
  if (!(error instanceof CoordinationError)) return true;
  const lasting = ['DENIED', 'PROTOCOL', 'VERSION', 'INVALID', 'CLOSED'];
  return error.isLasting || lasting.includes(error.code);
}
