import type {
  BreakReason,
  FormedRound,
  RendezvousEvent,
  Verdict,
} from '../../rendezvous/rendezvous.js';
import { unreachable } from '../../util/unreachable.js';

/**
 * A node's place in a job, held for an agent of torchrun: that one owns the workers, and its rendezvous handler asks for us.
 * A pure function: what it's asked and what the rendezvous tells give what is done, and what torchrun hears.
 */
export type Seat =
  /** No worker, and nobody has asked for a round. */
  | { readonly is: 'out' }
  | { readonly is: 'joining' }
  | { readonly is: 'running'; readonly round: number; readonly firstRank: number }
  /** The round is over; torchrun has heard it, and its workers may run still. */
  | { readonly is: 'broken'; readonly round: number; readonly firstRank: number }
  /** The workers have failed, and are gone: what follows is the job's to say. */
  | { readonly is: 'reporting'; readonly round: number; readonly then: 'join' | 'end' }
  | { readonly is: 'pausing' }
  /** The workers have all succeeded, and torchrun waits for the others. */
  | { readonly is: 'done'; readonly round: number }
  /** The job has failed, and this node's workers may run still. */
  | { readonly is: 'condemned'; readonly why: string }
  | { readonly is: 'over' };

/** A failed worker, as torchrun knows it. */
export interface TorchFailure {
  readonly localRank: number;
  readonly pid: number;
  /** As Python has it: 0…255, or the negative number of the signal. */
  readonly exitcode: number;
  readonly message: string;
  /** Unix time in whole seconds. */
  readonly timestamp: number;
}

/** What torchrun's handler asks for. Its workers are gone whenever it does, but for `succeed`, when they have ended well. */
export type Order =
  /** Another round. @param failures of the one before, the root cause first; absent: torchrun has left it as it was told to */
  | { readonly do: 'join'; readonly failures?: readonly TorchFailure[] | undefined }
  | { readonly do: 'succeed' }
  /** No round any more. @param failures as with `join` */
  | { readonly do: 'end'; readonly failures?: readonly TorchFailure[] | undefined }
  /** The agent was told to stop. */
  | { readonly do: 'leave' };

export type SeatEvent =
  | { readonly event: 'asked'; readonly order: Order }
  | { readonly event: 'told'; readonly told: RendezvousEvent }
  /** The rendezvous has given up. */
  | { readonly event: 'lost'; readonly why: string }
  | { readonly event: 'pause-over' };

/** What torchrun's handler hears. */
export type Heard =
  | { readonly event: 'round'; readonly formed: FormedRound }
  | { readonly event: 'broken'; readonly because: BreakReason | 'job-failed' }
  /** Nobody of the round needs this node any more, or it can be of no use to the others. */
  | { readonly event: 'released' }
  | { readonly event: 'over'; readonly how: 'succeeded' | 'failed' | 'lost'; readonly why: string };

export type Action =
  | { readonly do: 'join' | 'conclude' | 'leave' }
  | { readonly do: 'announce' | 'succeed'; readonly round: number }
  | {
      readonly do: 'report';
      readonly round: number;
      readonly firstRank: number;
      readonly failures: readonly TorchFailure[];
    }
  | { readonly do: 'hear'; readonly heard: Heard }
  | { readonly do: 'pause'; readonly ms: number }
  /** This node's workers must be gone soon, or be killed. */
  | { readonly do: 'count-down' }
  /** They are. */
  | { readonly do: 'stop-counting' }
  /** Ends the rendezvous, and the process that holds the place. */
  | { readonly do: 'end' };

export type Step = readonly [Seat, readonly Action[]];

export function step(seat: Seat, event: SeatEvent, describe: (verdict: Failed) => string): Step {
  switch (event.event) {
    case 'asked':
      return asked(seat, event.order);
    case 'told':
      return told(seat, event.told, describe);
    case 'lost': {
      if (seat.is === 'over') return [seat, []];
      // Others may begin without this node, and nobody would say when.
      const limit: Action[] =
        seat.is === 'running' || seat.is === 'broken' ? [{ do: 'count-down' }] : [];
      const over = hear({ event: 'over', how: 'lost', why: event.why });
      return [{ is: 'over' }, [...limit, over, ...releaseOf(seat)]];
    }
    case 'pause-over':
      return seat.is === 'pausing' ? [{ is: 'joining' }, [{ do: 'join' }]] : [seat, []];
    default:
      return unreachable(event);
  }
}

/** A job's end by failures. */
export type Failed = Extract<Verdict, { do: 'fail' }>;

function hear(heard: Heard): Action {
  return { do: 'hear', heard };
}

/** torchrun's exit barrier holds nobody for whom nothing follows. */
function releaseOf({ is }: Seat): readonly Action[] {
  return is === 'done' ? [hear({ event: 'released' })] : [];
}

function asked(seat: Seat, order: Order): Step {
  const gone: Action = { do: 'stop-counting' };
  switch (order.do) {
    case 'succeed':
      if (seat.is === 'running')
        return [{ is: 'done', round: seat.round }, [{ do: 'succeed', round: seat.round }]];
      // torchrun starts no worker again that has succeeded: the others go on without this node.
      return [seat, [gone, hear({ event: 'released' })]];
    case 'leave':
      return [{ is: 'over' }, [gone, { do: 'leave' }, { do: 'end' }]];
    case 'join':
    case 'end':
      break;
    default:
      return unreachable(order);
  }
  const { failures } = order;
  const then = order.do;
  if (seat.is === 'condemned') {
    const over = hear({ event: 'over', how: 'failed', why: seat.why });
    const next: Action = then === 'end' ? { do: 'end' } : over;
    return [{ is: 'over' }, [gone, { do: 'conclude' }, next]];
  }
  const isIn = seat.is === 'running' || seat.is === 'broken';
  if (isIn && failures !== undefined) {
    const { round, firstRank } = seat;
    const tell: Action[] = [
      { do: 'announce', round },
      { do: 'report', round, firstRank, failures },
    ];
    return [{ is: 'reporting', round, then }, [gone, ...tell]];
  }
  if (then === 'join') {
    if (seat.is === 'over') return [seat, [gone]];
    return [{ is: 'joining' }, [gone, { do: 'join' }]];
  }
  // Whoever has succeeded, or has heard the verdict, has told all that others wait for.
  const farewell: Action[] = seat.is === 'done' || seat.is === 'over' ? [] : [{ do: 'leave' }];
  return [{ is: 'over' }, [gone, ...farewell, { do: 'end' }]];
}

function told(seat: Seat, event: RendezvousEvent, describe: (verdict: Failed) => string): Step {
  switch (event.event) {
    case 'round-formed': {
      if (seat.is !== 'joining') return [seat, []];
      const { round, place } = event;
      const heard = hear({ event: 'round', formed: event });
      return [{ is: 'running', round, firstRank: place.firstRank }, [heard]];
    }
    case 'round-broken': {
      const { round, because } = event;
      // torchrun is within its exit barrier, and starts nobody again.
      if (seat.is === 'done') return [{ is: 'out' }, [{ do: 'leave' }, ...releaseOf(seat)]];
      if (seat.is !== 'running' || seat.round !== round) return [seat, []];
      const limit: Action[] = because === 'fenced' ? [{ do: 'count-down' }] : [];
      return [{ ...seat, is: 'broken' }, [...limit, hear({ event: 'broken', because })]];
    }
    case 'verdict':
      return judged(seat, event.verdict, describe);
    case 'peers-ended':
      return [seat, []]; // torchrun reports its own workers only
    default:
      return unreachable(event);
  }
}

function judged(seat: Seat, verdict: Verdict, describe: (verdict: Failed) => string): Step {
  if (seat.is === 'over') return [seat, []];
  const isLast = seat.is === 'reporting' && seat.then === 'end';
  switch (verdict.do) {
    case 'restart':
      if (seat.is !== 'reporting') return [seat, []];
      if (isLast) return [{ is: 'over' }, [{ do: 'leave' }, { do: 'end' }]];
      if (verdict.delayMs > 0) return [{ is: 'pausing' }, [{ do: 'pause', ms: verdict.delayMs }]];
      return [{ is: 'joining' }, [{ do: 'join' }]];
    case 'end': {
      const over = hear({ event: 'over', how: 'succeeded', why: 'the job has succeeded' });
      return [{ is: 'over' }, [...releaseOf(seat), over]];
    }
    case 'fail': {
      const why = describe(verdict);
      if (isLast) return [{ is: 'over' }, [{ do: 'conclude' }, { do: 'end' }]];
      if (seat.is === 'running' || seat.is === 'broken') {
        const heard = hear({ event: 'broken', because: 'job-failed' });
        return [{ is: 'condemned', why }, seat.is === 'running' ? [heard] : []];
      }
      const over = hear({ event: 'over', how: 'failed', why });
      return [{ is: 'over' }, [{ do: 'conclude' }, ...releaseOf(seat), over]];
    }
    default:
      return unreachable(verdict);
  }
}
