import type { Coordination, Lease } from '../coordination/coordination.js';
import { keys, type StoreAddress } from './job/shared.js';
import { isHopeless } from './table.js';

/** The stores that a node serves to the workers of all nodes, one for each round in which it has rank 0. */
export interface Stores {
  /**
   * Opens a round's store, and tells the others of it.
   *
   * @throws ERR_PORT
   */
  serve(round: number): void;
  /** Tells the others again, who have another table. */
  tellAgain(): void;
  /** Whether workers of other nodes may use this node's store of a round. */
  serves(round: number): boolean;
  /** Closes a round's store, if there is one. */
  end(round: number): void;
  /** Closes those of earlier rounds: a round forms when nobody is in the one before. */
  endBefore(round: number): void;
}

/** Where a store is opened. `host`: @default this node's address */
export type StoresAt = Omit<StoreAddress, 'host'> & Partial<StoreAddress>;

export interface StoresSurroundings {
  readonly coordination: Coordination;
  readonly prefix: string;
  /** This node's address for others. */
  readonly address: string;
  lease(): Lease | undefined;
  /** @throws ERR_PORT */
  open(round: number): StoresAt;
  close(round: number): void;
  /** The others can't be told. */
  failed(error: unknown): void;
}

/** Before the others are told again, should it not have worked. */
const retryMs = 100;

export function createStores(around: StoresSurroundings): Stores {
  const { coordination, prefix, address: host } = around;
  const served = new Map<number, StoreAddress>();

  async function publish(round: number, address: StoreAddress): Promise<void> {
    const lease = around.lease();
    // Without a lease the round is lost, too.
    if (!served.has(round) || lease === undefined) return;
    try {
      await coordination.put(prefix + keys.store(round), JSON.stringify(address), lease);
    } catch (error) {
      // It's still wanted, unless the round is over by then.
      if (isHopeless(error)) around.failed(error);
      else setTimeout(() => void publish(round, address), retryMs);
    }
  }

  function end(round: number): void {
    if (served.delete(round)) around.close(round);
  }

  return {
    serve(round) {
      const address = { host, ...around.open(round) };
      served.set(round, address);
      void publish(round, address);
    },
    tellAgain() {
      for (const [round, address] of served) void publish(round, address);
    },
    serves: round => served.has(round),
    end,
    endBefore(current) {
      for (const round of served.keys()) if (round < current) end(round);
    },
  };
}
