import type { Measures } from '../events/recorder.js';
import type { AgentEvent } from '../events.js';

/** What recorders need of the agent. */
export interface RecorderSurroundings {
  /** Working directory of this process; absent: there's none. */
  readonly cwd: string | undefined;
  tell(event: AgentEvent): void;
  /** The folder of the run's logs, which is made if it isn't there yet; undefined where logging is off. */
  folder(): Promise<string | undefined>;
  /** What no event tells. */
  measure(): Measures;
  nowMs(): number;
}
