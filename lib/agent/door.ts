import { createServer } from 'node:net';

/**
 * Opens a port, one that the kernel chooses as it does for NCCL and gloo, at which another node sees whether it can connect
 * to this one. Whoever does is hung up on at once.
 *
 * @param host the only address that it's at; absent: all
 * @param signal closes it
 * @returns undefined where there's none to be had: then nobody tries
 */
export function openDoor(
  host: string | undefined,
  signal: AbortSignal,
): Promise<number | undefined> {
  return new Promise(resolve => {
    const server = createServer(socket => {
      // It may have gone already.
      socket.on('error', () => {});
      socket.destroy();
    });
    server.on('error', () => resolve(undefined));
    const close = (): void => {
      server.close();
      resolve(undefined);
    };
    if (signal.aborted) return close();
    signal.addEventListener('abort', close, { once: true });
    server.listen({ port: 0, ...(host === undefined ? {} : { host }) }, () => {
      // It may have been looking for its address until now.
      if (signal.aborted) return close();
      const address = server.address();
      resolve(typeof address === 'object' ? address?.port : undefined);
    });
  });
}
