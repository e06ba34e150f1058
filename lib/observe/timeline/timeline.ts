import type { EventRecord } from '../../events/recorder.js';
import { type NodeRows, nodeRows } from './node.js';
import { nameNode, type TraceEvent } from './trace.js';

/**
 * A timeline of the nodes of a job, from the records in files of their events to a trace. Pure but for what it keeps: as little as is
 * open at the moment.
 */
export interface Timeline {
  /**
   * Takes a record, in the order of its file; those of different files in any.
   *
   * @param file what it's from: two agents of one node have a file each
   * @returns what can be drawn by now
   */
  take(file: string, record: EventRecord): TraceEvent[];
  /** There are no more. @returns what was still open */
  end(): TraceEvent[];
}

export function createTimeline(): Timeline {
  const nodes = new Map<string, NodeRows>();
  const names = new Set<string>();

  return {
    take(file, record) {
      const key = JSON.stringify([file, record.node]);
      const known = nodes.get(key);
      if (known !== undefined) return known.take(record);

      const pid = nodes.size + 1;
      const rows = nodeRows(pid);
      nodes.set(key, rows);
      const name = names.has(record.node) ? `${record.node} (${file})` : record.node;
      names.add(record.node);
      return [...nameNode(pid, name), ...rows.take(record)];
    },
    end: () => [...nodes.values()].flatMap(rows => rows.end()),
  };
}
