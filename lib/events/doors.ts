/** By what others look at a run, and give it orders. */
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
      /** Whether somebody has asked for it; else it would have been there for whoever may want it. */
      readonly isAsked: boolean;
      readonly atMs: number;
    };
