/** What a node waits for before its workers can start. Nodes are given as `NAME (ADDRESS)`. */
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
  /** A round is live without this node. */
  | {
      readonly waitsFor: 'place';
      readonly round: number;
      /** Nodes that it has. */
      readonly nodes: number;
      readonly maxNodes: number;
    };
