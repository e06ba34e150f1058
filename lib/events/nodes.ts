/** What a node waits for before its workers can start, or once they have ended. Nodes are given as `NAME (ADDRESS)`. */
export type NodesWait =
  /** Nobody answers at the endpoint, or nobody does any more. */
  | { readonly waitsFor: 'endpoint'; readonly endpoint: string; readonly limitMs: number }
  /** More nodes are to come, or workers of others to end. */
  | {
      readonly waitsFor: 'nodes';
      readonly endpoint: string;
      readonly minNodes: number;
      readonly maxNodes: number;
      /** Nodes that wait, this one among them. */
      readonly here: readonly string[];
      /** Nodes whose workers of the round before have not ended yet. */
      readonly ending: readonly string[];
      /** Time until the round begins with those who are here, or the wait is given up. */
      readonly limitMs: number;
    }
  /** The job has failed, and others are to tell what became of their workers. */
  | { readonly waitsFor: 'ends'; readonly nodes: readonly string[]; readonly limitMs: number }
  /** This node's workers have all ended with 0, and those of others run. */
  | {
      readonly waitsFor: 'peers';
      readonly round: number;
      /** Nodes whose workers have all ended with 0, this one among them. */
      readonly done: number;
      /** Nodes of the round. */
      readonly nodes: number;
      readonly running: readonly string[];
    }
  /** A round is live without this node. */
  | {
      readonly waitsFor: 'place';
      readonly round: number;
      /** Nodes that it has. */
      readonly nodes: number;
      readonly maxNodes: number;
      /** As many spares as there may be wait, too: this node is one too many, and gives up after `limitMs`. */
      readonly spares?: number;
      readonly limitMs?: number;
    };

/** Where several nodes meet, what they tell of each other, and what one waits for and can't reach of others. */
export type NodesEvent =
  /** With several nodes: a round is over for what has happened on others, or because of one that has come. */
  | {
      readonly event: 'round-broken';
      readonly round: number;
      readonly because: 'failed' | 'lost' | 'left' | 'growth';
      /** NAME (ADDRESS) of those that it's because of. */
      readonly nodes: readonly string[];
      readonly atMs: number;
    }
  /** With several nodes: one has failed too often, see `strikes`, and is left out where the others are enough. */
  | {
      readonly event: 'node-left-out';
      /** NAME (ADDRESS). */
      readonly node: string;
      readonly failures: number;
      /** The time within which it has failed so often, and for which it's left out. */
      readonly perMs: number;
      readonly atMs: number;
    }
  /**
   * With several nodes: the process that they meet at has ended. No round can begin; workers that are well run on, for
   * `limitMs` at most, and go on as if nothing had been where one is there again by then.
   */
  | {
      readonly event: 'server-gone';
      readonly endpoint: string;
      readonly limitMs: number;
      readonly atMs: number;
    }
  | { readonly event: 'server-back'; readonly endpoint: string; readonly atMs: number }
  /** What this node has waited for, from a second on; again for what changes of it, ever more seldom. */
  | ({ readonly event: 'waiting-for-nodes'; readonly atMs: number } & NodesWait)
  /** With several nodes: what they meet at is a store of PyTorch's, and agents of torchrun are there. This one takes part as they do. */
  | {
      readonly event: 'joins-torchrun';
      readonly endpoint: string;
      /** Of PyTorch, as far as it can be told: `2.6 or later`. */
      readonly release: string;
      readonly atMs: number;
    }
  /**
   * This node serves the others, without a token, and at more than loopback addresses: whoever reaches one of these is
   * taken for an agent. Told once.
   */
  | {
      readonly event: 'open-to-all';
      readonly port: number;
      readonly addresses: readonly string[];
      readonly atMs: number;
    }
  | UnreachableEvent;

/** What a node can't reach of another one, as it was tried beside a round. Nothing follows from it. */
export type UnreachableEvent =
  /** The workers' store has not answered: workers here may wait for it in vain. */
  | ({ readonly event: 'store-unreachable' } & Unreachable)
  /** The node that follows in the order of ranks has not let this one connect to it. */
  | ({ readonly event: 'node-unreachable' } & Unreachable);

/** Nodes are given as `NAME (ADDRESS)`. */
interface Unreachable {
  readonly round: number;
  /** HOST:PORT; of the store, MASTER_ADDR and MASTER_PORT of the workers. */
  readonly address: string;
  /** This node. */
  readonly here: string;
  /** The other one. */
  readonly there: string;
  /** `ECONNREFUSED`, `it does not answer`. */
  readonly reason: string;
  /** How long it was tried for. */
  readonly limitMs: number;
  readonly atMs: number;
}
