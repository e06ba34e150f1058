import { createHmac, timingSafeEqual } from 'node:crypto';

/**
 * How an agent and our server show each other that they have the job's token, without sending it: see
 * native/core/coordination/proof.h, which this agrees with byte for byte.
 */

export const nonceBytes = 32;

export interface Nonces {
  readonly server: Buffer;
  readonly agent: Buffer;
}

export function agentProof(token: string, nonces: Nonces): Buffer {
  return proofOf('regroup agent', token, nonces);
}

export function serverProof(token: string, nonces: Nonces): Buffer {
  return proofOf('regroup server', token, nonces);
}

function proofOf(whose: string, token: string, { server, agent }: Nonces): Buffer {
  return createHmac('sha256', token).update(whose).update(server).update(agent).digest();
}

/** Takes as long wherever they differ. */
export function isSameProof(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
