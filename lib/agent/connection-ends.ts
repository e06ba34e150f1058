import { connect } from 'node:net';
import type { Address } from '../util/address.js';

/** Numeric addresses. */
export interface Ends {
  readonly local: string;
  readonly remote: string;
}

/** The ends of a connection to an address. Rejects where there's none in time. */
export function connectionEnds(
  { host, port }: Required<Address>,
  timeoutMs: number,
): Promise<Ends> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, autoSelectFamily: true });
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('it does not answer')));
    socket.once('error', reject);
    socket.once('connect', () => {
      const { localAddress: local = host, remoteAddress: remote = host } = socket;
      resolve({ local, remote });
      socket.destroy();
    });
  });
}
