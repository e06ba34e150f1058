import { unreachable } from '../../util/unreachable.js';
import type { Pause as AnyPause, HookCall } from '../step/state.js';

/** Pauses that take place on this node: the rendezvous is of all, and so is the end. */
type Pause = Exclude<AnyPause, { name: 'join' | 'peers' }>;

/** Waits for what must be over before it goes on. One at a time. */
export interface Pauses {
  /** @param over called once, unless `end` comes before; with words if a hook has failed */
  begin(pause: Pause, over: (problem?: string) => void): void;
  end(): void;
  /** When the last hook's process is gone, at the latest a moment after its end; absent if it is. */
  gone(): Promise<void> | undefined;
}

/** A hook, or another look at the machine, under way. */
export interface HookRun {
  /** Kills it; then it isn't over for anybody. */
  end(): void;
  readonly gone: Promise<void>;
}

export type GpuPauseCall = Extract<Pause, { name: 'gpus' }>;

type Start<P> = (pause: P, over: (problem?: string) => void) => HookRun;

export function createPauses(start: {
  readonly hook: Start<HookCall>;
  readonly gpus: Start<GpuPauseCall>;
}): Pauses {
  let timer: NodeJS.Timeout | undefined;
  let hook: HookRun | undefined;
  return {
    begin(pause, over) {
      switch (pause.name) {
        case 'back-off':
          timer = setTimeout(over, pause.ms);
          return;
        case 'gpus':
          hook = start.gpus(pause, over);
          return;
        case 'pre-start':
        case 'pre-stop':
        case 'post-round': {
          const run = start.hook(pause, over);
          hook = run;
          void run.gone.then(() => {
            if (hook === run) hook = undefined;
          });
          return;
        }
        default:
          unreachable(pause);
      }
    },
    end() {
      clearTimeout(timer);
      hook?.end();
    },
    gone: () => hook?.gone,
  };
}
