import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { launchError, valueError } from '../errors.js';
import { native, packageRoot, sharedMemoryLibrary } from '../native/addon.js';
import { codeOf } from '../util/errno.js';

/** Where workers find the socket that gives a store's shared memory, `@…`. */
export const sharedStoreVariable = 'REGROUP_STORE';

/**
 * What workers need to reach a store through shared memory. Where it offers none they use TCP, and
 * mustn't find the store of a launcher that launched us.
 *
 * @param local the socket's name, as the store gave it
 */
export function sharedStoreEnv(local: string | undefined): Record<string, string> {
  if (local === undefined) return { [sharedStoreVariable]: '' };
  const library = sharedMemoryLibrary();
  return {
    [sharedStoreVariable]: local,
    REGROUP_PYTHONPATH: join(packageRoot, 'python'),
    ...(existsSync(library) ? { REGROUP_SHM: library } : {}),
  };
}

/**
 * Reads a store's keys on its own machine, in less than a microsecond and without the server. It only
 * reads; for all else there's `connectStore`.
 */
export interface SharedStore extends Disposable {
  /**
   * The value; `absent` if there's no such key now; `unknown` if only the server can tell, as for
   * values above 1 MiB, or when it's gone.
   */
  get(key: string): Buffer | 'absent' | 'unknown';
  /** The word that the server tells all its readers; 0 until it has told one. */
  notice(): number;
  close(): void;
}

/**
 * Opens the shared memory of a store that this user's process serves on this machine. It blocks for
 * some 0.1 ms.
 *
 * @param name of the server's socket; by default that of this worker's store
 * @throws ERR_STORE_CONNECT; ERR_OPTION if there's no name
 */
export function openSharedStore(name = process.env[sharedStoreVariable]): SharedStore {
  if (name === undefined || name === '') {
    const accepted = `the name of a store's socket, or set ${sharedStoreVariable}, as workers of regroup have it`;
    throw valueError('name', name, accepted);
  }
  const startedAt = performance.now();
  const store = open(name, startedAt);
  return {
    get(key) {
      // As TCPStore's clients name it on the wire.
      const value = store.get(`/${key}`);
      if (value === undefined) return 'absent';
      return value ?? 'unknown';
    },
    notice: () => store.notice(),
    close: () => store.close(),
    [Symbol.dispose]: () => store.close(),
  };
}

function open(name: string, startedAt: number) {
  try {
    return native().openSharedStore(name);
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    const afterMs = Math.round(performance.now() - startedAt);
    throw launchError('ERR_STORE_CONNECT', [name, afterMs, whyNot(codeOf(error))], error);
  }
}

function whyNot(code: string | undefined): string {
  switch (code) {
    case 'ECONNREFUSED':
      return 'nobody listens there, or it refuses this process; ask it over TCP';
    case 'EACCES':
      return "it's another user's; ask it over TCP";
    case 'EPROTO':
      return 'what it gives is none of ours, or of another version; ask it over TCP';
    default:
      return `${code}; ask it over TCP`;
  }
}
