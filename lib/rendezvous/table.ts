import { type Coordination, CoordinationError, type Watch } from '../coordination/coordination.js';
import { shown } from '../util/shown.js';
import { emptyView, type View, withEntry, withEvents } from './shared.js';

/** A job's table as it is, followed change by change. */
export interface Table {
  close(): void;
}

/** Before the table is read again that couldn't be. */
const pauseMs = 200;

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
      view = { ...emptyView, revision };
      for (const entry of entries) view = parsed(entry.key, () => withEntry(view, prefix, entry));
      watch = coordination.watch(prefix, revision + 1, { changed, ended });
      seen(view, true);
    } catch (error) {
      ended(error);
    }
  }

  function changed(events: Parameters<typeof withEvents>[2]): void {
    try {
      view = parsed(prefix, () => withEvents(view, prefix, events));
    } catch (error) {
      watch?.close();
      ended(error);
      return;
    }
    seen(view, false);
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

/** What others have written must be JSON. @throws CoordinationError: PROTOCOL */
function parsed(key: string, read: () => View): View {
  try {
    return read();
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
    for (const { key, modified } of entries)
      await coordination.txn([{ key, modified }], [{ delete: key }]);
  } catch {
    // Nobody is there to be asked, or nothing is: it ended with its server.
  }
}

/** Whether trying again is in vain. */
export function isHopeless(error: unknown): boolean {
  if (!(error instanceof CoordinationError)) return true;
  return ['DENIED', 'PROTOCOL', 'INVALID', 'CLOSED'].includes(error.code);
}
