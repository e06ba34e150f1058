import { unreachable } from '../util/unreachable.js';
import type { Pause } from './state.js';

/** Waits for what must be over before the next round starts. One at a time. */
export interface Pauses {
  /** @param over called once, unless `end` comes before */
  begin(pause: Pause, over: () => void): void;
  end(): void;
}

export function createPauses(): Pauses {
  let timer: NodeJS.Timeout | undefined;
  return {
    begin(pause, over) {
      switch (pause.name) {
        case 'back-off':
          timer = setTimeout(over, pause.ms);
          return;
        default:
          unreachable(pause.name);
      }
    },
    end() {
      clearTimeout(timer);
    },
  };
}
