import { type Need, pressureFiles, whyNoRoom } from '../../machine/room.js';
import { type NativePressureWatch, native } from '../../native/addon.js';
import { createDisk } from '../../system/disk.js';
import { unreachable } from '../../util/unreachable.js';
import { initialRoom, type RoomAction, type RoomHappening, roomStep } from './room-step.js';

/** Whether standbys may take memory and processes: not beside others that wait for memory, and not up to a limit. */
export interface Room {
  /** Standbys are about to be made: `make` is called where there's room for them, `hold` where there isn't. */
  ask(): void;
  close(): void;
}

export interface RoomSurroundings {
  /** What they'd take. */
  need(): Need;
  make(): void;
  hold(reason: string): void;
  release(): void;
}

/**
 * Some task has waited for memory for 15 % of two seconds. Windows of whole two seconds are those that users without privileges may ask for.
 *
 * @source Linux 6.18, Documentation/accounting/psi.rst
 */
const trigger = 'some 300000 2000000';
/** For files that wait for locks of everybody's. Without an answer there's room. */
const boundMs = 10_000;
const leastQuietMs = 1000;

/** @param afterMs without pressure, and standbys are made again; a second at least */
export function createRoom(afterMs: number, around: RoomSurroundings): Room {
  const disk = createDisk(1, false);
  const quietMs = Math.max(leastQuietMs, afterMs);
  let state = initialRoom;
  let timer: NodeJS.Timeout | undefined;
  let watch: NativePressureWatch | undefined;
  let isWatched = false;
  let isClosed = false;

  function happen(happening: RoomHappening): void {
    if (isClosed) return;
    const [after, actions] = roomStep(state, happening, quietMs);
    state = after;
    for (const action of actions) perform(action);
  }

  function perform(action: RoomAction): void {
    switch (action.do) {
      case 'look':
        void look(action.turn);
        return;
      case 'make':
        around.make();
        return;
      case 'hold':
        around.hold(action.reason);
        return;
      case 'release':
        around.release();
        return;
      case 'arm':
        clearTimeout(timer);
        timer = setTimeout(() => happen({ event: 'quiet', turn: action.turn }), action.afterMs);
        return;
      default:
        unreachable(action);
    }
  }

  async function look(turn: number): Promise<void> {
    const why = await disk.run(boundMs, () => whyNoRoom(around.need())).catch(() => undefined);
    happen({ event: 'looked', turn, ...(why === undefined ? {} : { why }) });
  }

  /** From the first standbys on: before, nobody would act on it. */
  async function listen(): Promise<void> {
    if (isWatched) return;
    isWatched = true;
    const files = await disk.run(boundMs, pressureFiles).catch(() => []);
    if (isClosed) return;
    try {
      watch = native().watchPressure(files, trigger, () => happen({ event: 'pressure' }));
    } catch {
      // No thread can be had: what's asked for each time is whether there's room, all the same.
    }
  }

  return {
    ask() {
      void listen();
      happen({ event: 'asked' });
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
      watch?.close();
    },
  };
}
