import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import type { TopologySource } from './topology.js';

/** What decides where workers run, read from where it really is. */
export const thisMachine: TopologySource = {
  read(path) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      // Absence is an answer here: no such driver, no such device.
      return undefined;
    }
  },
  list(path) {
    try {
      return readdirSync(path);
    } catch {
      // As above.
      return [];
    }
  },
  resolve(path) {
    try {
      return realpathSync.native(path);
    } catch {
      // As above.
      return path;
    }
  },
};
