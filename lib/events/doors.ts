/** By what others look at a run, and give it orders. Not told of a control socket that's there by `auto` only. */
export type DoorEvent =
  | {
      readonly event: 'door-open';
      readonly door: 'health' | 'control';
      /** Port of `health`, path of the socket of `control`. */
      readonly at: string;
      readonly atMs: number;
    }
  /** It isn't there, and the run goes on without it. */
  | {
      readonly event: 'door-trouble';
      readonly door: 'health' | 'control';
      readonly reason: string;
      readonly atMs: number;
    };
