import type { Server, Socket } from 'node:net';

/**
 * Bounds what those who connect to a server take of the descriptors that workers need, and keeps nobody out: one more than
 * `most` takes the place of the first. Node doesn't stay for them.
 *
 * @param limits `ageMs`: how long each is connected at most, be it one who never reads; absent: no bound
 * @returns those that are connected
 */
export function boundConnections(
  server: Server,
  { most, ageMs }: { readonly most: number; readonly ageMs?: number },
): ReadonlySet<Socket> {
  const sockets = new Set<Socket>();
  server.on('connection', socket => {
    socket.unref();
    const late =
      ageMs === undefined ? undefined : setTimeout(() => socket.destroy(), ageMs).unref();
    sockets.add(socket);
    socket.on('close', () => {
      clearTimeout(late);
      sockets.delete(socket);
    });
    const [first] = sockets;
    if (sockets.size > most) first?.destroy();
  });
  return sockets;
}
