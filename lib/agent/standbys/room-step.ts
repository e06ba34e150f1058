import { unreachable } from '../../util/unreachable.js';

/** When there's room for standbys. Pure; `room.ts` performs the actions. */

export interface RoomState {
  readonly phase: 'roomy' | 'short';
  /** Of the quiet that's waited for: another one is out of date. */
  readonly turn: number;
  /** How often there was none. */
  readonly times: number;
}

export type RoomHappening =
  /** Standbys are about to be made. */
  | { readonly event: 'asked' }
  /** Tasks wait for memory. */
  | { readonly event: 'pressure' }
  /** What a look has shown. `why`: there's no room. */
  | { readonly event: 'looked'; readonly turn: number; readonly why?: string }
  /** What `arm` asked for. */
  | { readonly event: 'quiet'; readonly turn: number };

export type RoomAction =
  | { readonly do: 'look'; readonly turn: number }
  /** They may be made now. */
  | { readonly do: 'make' }
  /** Those that there are go, and none is made. */
  | { readonly do: 'hold'; readonly reason: string }
  /** They may be made again. */
  | { readonly do: 'release' }
  | { readonly do: 'arm'; readonly turn: number; readonly afterMs: number };

export const initialRoom: RoomState = { phase: 'roomy', turn: 0, times: 0 };

/** The longest pause is that often the first: standbys that bring the pressure about come seldom. */
const mostPauses = 16;

/** @param quietMs without pressure, and there's room again; twice as long each time */
export function roomStep(
  state: RoomState,
  happening: RoomHappening,
  quietMs: number,
): readonly [RoomState, readonly RoomAction[]] {
  switch (happening.event) {
    case 'asked':
      return state.phase === 'roomy' ? [state, [{ do: 'look', turn: state.turn }]] : [state, []];
    case 'pressure':
      return state.phase === 'roomy'
        ? hold(state, 'tasks wait for memory', quietMs)
        : wait(state, quietMs);
    case 'quiet':
      return state.phase === 'short' && happening.turn === state.turn
        ? [state, [{ do: 'look', turn: state.turn }]]
        : [state, []];
    case 'looked':
      return happening.turn === state.turn ? onLooked(state, happening.why, quietMs) : [state, []];
    default:
      return unreachable(happening);
  }
}

function onLooked(
  state: RoomState,
  why: string | undefined,
  quietMs: number,
): readonly [RoomState, readonly RoomAction[]] {
  if (state.phase === 'roomy')
    return why === undefined ? [state, [{ do: 'make' }]] : hold(state, why, quietMs);
  return why === undefined
    ? [{ ...state, phase: 'roomy' }, [{ do: 'release' }]]
    : wait(state, quietMs);
}

function hold(
  state: RoomState,
  reason: string,
  quietMs: number,
): readonly [RoomState, readonly RoomAction[]] {
  const short = { ...state, phase: 'short', times: state.times + 1 } as const;
  const [after, actions] = wait(short, quietMs);
  return [after, [{ do: 'hold', reason }, ...actions]];
}

function wait(state: RoomState, quietMs: number): readonly [RoomState, readonly RoomAction[]] {
  const turn = state.turn + 1;
  const afterMs = quietMs * Math.min(mostPauses, 2 ** (state.times - 1));
  return [{ ...state, turn }, [{ do: 'arm', turn, afterMs }]];
}
