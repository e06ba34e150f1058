import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';

const storeMain = resolve(
  join(process.env['REGROUP_NATIVE_TESTS'] ?? 'build/native-tests', 'store_main'),
);

/** A server of ours, and a way to it that the test can cut. */
export interface OwnServer {
  /** Of the way to it. */
  readonly port: number;
  /** Of the server itself, which stays when it starts again. */
  readonly ownPort: number;
  /** Breaks all connections. New ones are made. */
  cut(): void;
  /** Holds back whatever comes from either side, and what comes from new connections. */
  hold(): void;
  release(): void;
  /** Breaks all connections, and new ones at once. */
  close(): void;
  open(): void;
  /**
   * Ends it, and starts another one, which knows nothing, at the same port.
   *
   * @param meanwhile awaited while nobody listens there
   * @param token its own
   */
  replace(meanwhile?: Promise<unknown>, token?: string): Promise<void>;
}

/**
 * @param historyBytes of the last changes that it keeps
 * @param token which its clients must prove to have
 */
export async function startOwnServer(
  t: Test,
  historyBytes = 1 << 24,
  token?: string,
): Promise<OwnServer> {
  let server = await start(0, historyBytes, token);
  const { port: ownPort } = server;
  const pairs = new Set<readonly [Socket, Socket]>();
  let isOpen = true;
  let isHeld = false;

  const front = createServer(client => {
    if (!isOpen) {
      client.destroy();
      return;
    }
    const onward = connect({ host: '127.0.0.1', port: ownPort, noDelay: true });
    const pair = [client, onward] as const;
    pairs.add(pair);
    for (const [from, to] of [
      [client, onward],
      [onward, client],
    ] as const) {
      from.on('error', () => {}); // its close follows
      from.on('close', () => {
        to.destroy();
        pairs.delete(pair);
      });
      from.pipe(to);
      if (isHeld) from.pause();
    }
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  const { port } = front.address() as { port: number };

  function cut(): void {
    for (const pair of pairs) for (const socket of pair) socket.resetAndDestroy();
  }
  t.teardown(async () => {
    cut();
    front.close();
    await server.end();
  });
  return {
    port,
    ownPort,
    cut,
    hold() {
      isHeld = true;
      for (const pair of pairs) for (const socket of pair) socket.pause();
    },
    release() {
      isHeld = false;
      for (const pair of pairs) for (const socket of pair) socket.resume();
    },
    close() {
      isOpen = false;
      cut();
    },
    open() {
      isOpen = true;
    },
    async replace(meanwhile, other = token) {
      await server.end();
      await meanwhile;
      server = await start(ownPort, historyBytes, other);
    },
  };
}

async function start(port: number, historyBytes: number, token = '') {
  const child = spawn(storeMain, [String(port), String(historyBytes), token], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  const lines = createInterface({ input: child.stdout });
  const [ready] = (await once(lines, 'line')) as [string];
  return {
    port: Number(/^ready \S+:(\d+)/.exec(ready)?.[1]),
    async end() {
      child.stdin.end();
      await ended;
    },
  };
}
