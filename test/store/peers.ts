import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Test } from 'tap';
import type { Served } from '../harness.js';

/** Somebody on a port who does to a connection whatever the test wants. */
export async function servePeer(
  t: Test,
  onConnection: (socket: Socket, nth: number) => void,
): Promise<Served> {
  const sockets = new Set<Socket>();
  let count = 0;
  const server: Server = createServer(socket => {
    sockets.add(socket);
    // Whom the client hangs up on has nothing to say.
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
    onConnection(socket, ++count);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not on a port');
  return { host: '127.0.0.1', port: address.port };
}

const helloBytes = 10; // VALIDATE and PING

/** One who greets as a store does, and hands what comes then to `onRequest`. */
export function servePolite(
  t: Test,
  onRequest: (socket: Socket, bytes: Buffer) => void,
): Promise<Served> {
  return servePeer(t, socket => {
    let greeted = false;
    let before = Buffer.alloc(0);
    socket.on('data', bytes => {
      if (greeted) return onRequest(socket, bytes);
      before = Buffer.concat([before, bytes]);
      if (before.length < helloBytes) return;
      greeted = true;
      socket.write(before.subarray(6, helloBytes));
      if (before.length > helloBytes) onRequest(socket, before.subarray(helloBytes));
    });
  });
}
