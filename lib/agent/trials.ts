import { setTimeout as pause } from 'node:timers/promises';
import type { AgentEvent } from '../events.js';
import type { StoreAddress } from '../rendezvous/job/shared.js';
import type { Target } from '../rendezvous/told/targets.js';
import type { Connection } from '../store/connection.js';
import { addressOf } from '../util/address.js';
import { codeOf } from '../util/errno.js';

/** Tries beside each round whether this node reaches what its workers are about to need of others. */
export interface Trials {
  /**
   * Begins those of a round. Resolves when they're over and what there is to tell has been told; never rejects.
   *
   * @param targets asked for once what happens now has been seen to
   */
  begin(round: number, targets: () => readonly Target[]): Promise<void>;
  /** The round is over: nothing is told of it any more. */
  end(): void;
}

export interface TrialSurroundings {
  /** NAME (ADDRESS) of this node. */
  here(): string;
  tell(event: AgentEvent): void;
  nowMs(): number;
  /** For an answer. @default 5_000, in which the kernel tries three times to connect */
  readonly limitMs?: number;
}

/** Between two attempts to connect to a node. */
const retryMs = 250;

export function createTrials(around: TrialSurroundings): Trials {
  const { limitMs = 5_000 } = around;
  let current: AbortController | undefined;

  async function attempt(round: number, target: Target, signal: AbortSignal): Promise<void> {
    const { what, at, there } = target;
    const either = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
    const reason = await (what === 'store' ? whyNoStore : whyNoNode)(at, either);
    if (reason === undefined || signal.aborted) return;
    const address = addressOf(at.host, at.port);
    const told = { round, address, here: around.here(), there, reason, limitMs };
    around.tell({ event: `${what}-unreachable`, ...told, atMs: around.nowMs() });
  }

  return {
    async begin(round, targets) {
      current?.abort();
      const trial = new AbortController();
      current = trial;
      await Promise.resolve();
      if (trial.signal.aborted) return;
      try {
        await Promise.all(targets().map(target => attempt(round, target, trial.signal)));
      } catch {
        // Another node has written what is no address: it's the one to try itself.
      }
    },
    end: () => current?.abort(),
  };
}

const silence = 'it does not answer';

/** Why no store has answered before `signal` aborted; absent: one has. */
async function whyNoStore(at: StoreAddress, signal: AbortSignal): Promise<string | undefined> {
  // They need sockets, which one node doesn't.
  const [{ dial }, { malformed }] = await Promise.all([
    import('../store/dial.js'),
    import('../store/connection.js'),
  ]);
  let last = silence;
  try {
    const { connection } = await dial(at, { dialect: 'D', ping: true }, signal, error => {
      last = reasonOf(error);
    });
    connection.close();
    return undefined;
  } catch (error) {
    const stranger = malformed(error);
    return stranger === undefined ? last : `it is no store: ${stranger.message}`;
  }
}

/** Why no connection was made before `signal` aborted; absent: one was. */
async function whyNoNode(at: StoreAddress, signal: AbortSignal): Promise<string | undefined> {
  const { openConnection } = await import('../store/connection.js'); // as above
  let last = silence;
  while (!signal.aborted) {
    const made: Connection | Error = await openConnection(at, 'D', signal).catch(error => error);
    if (!(made instanceof Error)) {
      made.close();
      return undefined;
    }
    if (signal.aborted) break;
    last = reasonOf(made);
    // Nobody need be told that it was aborted: the loop looks.
    await pause(retryMs, undefined, { signal }).catch(() => {});
  }
  return last;
}

function reasonOf(error: Error): string {
  return codeOf(error.cause) ?? error.message;
}
