/** What becomes of a run's records: the files of its events, and its metrics. The run goes on in any case. */
export type ObservedEvent =
  /** Events can't be recorded as asked, for now or for good. Told once for each file; its last record has the final count. */
  | {
      readonly event: 'events-trouble';
      readonly path: string;
      /** As `ENOSPC`. `ETIMEDOUT`: the file takes nothing, or too slowly for the run's end; `ENOBUFS`: it takes less than there is. */
      readonly code: string;
      /** Records that are lost so far. */
      readonly lostRecords: number;
      readonly atMs: number;
    }
  /** Metrics can be read. */
  | {
      readonly event: 'metrics-served';
      /** `http://HOST:PORT/metrics` */
      readonly url: string;
      readonly atMs: number;
    }
  /** Metrics can't be read: why. */
  | {
      readonly event: 'metrics-trouble';
      /** HOST:PORT that was asked for. */
      readonly address: string;
      readonly reason: string;
      readonly atMs: number;
    };
