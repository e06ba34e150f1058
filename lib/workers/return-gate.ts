import type { Server, Socket } from 'node:net';
import { randomName } from '../util/random.js';

/**
 * Where the function workers of a node (`--run-path`) wait for each other once their script has returned, as torchrun's do:
 * the first that ended would take its connections along, and scripts that don't tear down their process group count
 * on them until all have returned. `run_path.py` is the other end.
 */
export interface ReturnGate {
  /** Address for a worker's environment, where it says that it has returned. */
  addressOf(localRank: number): string;
  /** Notes a worker that has ended: it isn't waited for, however it ended. */
  ended(localRank: number): void;
  /** Lets everybody go. */
  close(): void;
}

/** @param onReturned once for each that has returned and waits */
export async function openReturnGate(
  localWorldSize: number,
  onReturned: (localRank: number) => void,
): Promise<ReturnGate> {
  // Only now: it loads Node's sockets, and few runs have functions.
  const { createServer } = await import('node:net');
  const name = `regroup-return-${randomName(24)}`;
  const missing = new Set(Array.from({ length: localWorldSize }, (_, localRank) => localRank));
  const waiting = new Set<Socket>();

  function done(localRank: number): void {
    if (!missing.delete(localRank) || missing.size > 0) return;
    for (const socket of waiting) socket.end();
  }

  const server = createServer(socket => {
    waiting.add(socket);
    // A worker that was killed while it waited.
    socket.on('error', () => {});
    socket.on('close', () => waiting.delete(socket));
    let text = '';
    socket.setEncoding('utf8').on('data', more => {
      text += more;
      const said = /^(\d{1,6})\n/.exec(text)?.[1];
      if (said === undefined) {
        // Nobody of ours says so much.
        if (text.length > 16) socket.destroy();
        return;
      }
      const localRank = Number(said);
      if (missing.has(localRank)) onReturned(localRank);
      if (missing.size === 0) socket.end();
      else done(localRank);
    });
  });
  // In the abstract namespace: nothing is left of it, whoever is killed.
  await listen(server, `\0${name}`);
  server.unref();

  return {
    addressOf: localRank => `${name}:${localRank}`,
    ended: done,
    close() {
      for (const socket of waiting) socket.destroy();
      server.close();
    },
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
