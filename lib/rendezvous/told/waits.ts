import type { NodesWait } from '../../events/nodes.js';

/** Tells what a node waits for, once it has waited for a while, and what of it changes, ever more seldom. */
export interface Waits {
  /** What it waits for as of now; absent: nothing. */
  now(wait: NodesWait | undefined): void;
  close(): void;
}

/** Time before a wait is told; that to the next telling is twice as long each time. */
const firstMs = 1_000;
const mostMs = 64_000;

export function createWaits(tell: (wait: NodesWait) => void): Waits {
  let current: NodesWait | undefined;
  let told: string | undefined;
  let pauseMs = firstMs;
  let timer: NodeJS.Timeout | undefined;

  function rest(): void {
    timer = setTimeout(() => {
      timer = undefined;
      look();
    }, pauseMs);
    pauseMs = Math.min(pauseMs * 2, mostMs);
  }

  function look(): void {
    if (current === undefined || timer !== undefined) return;
    const text = JSON.stringify(current);
    if (text === told) return;
    told = text;
    tell(current);
    rest();
  }

  function end(): void {
    clearTimeout(timer);
    timer = undefined;
    current = undefined;
    told = undefined;
    pauseMs = firstMs;
  }

  return {
    now(wait) {
      if (wait === undefined) return end();
      const isNew = current === undefined;
      current = wait;
      if (isNew) rest();
      else look();
    },
    close: end,
  };
}

/** Does something at once, and again no sooner than a while later, however often it's asked for. */
export interface Spaced {
  /** Asks for it. */
  soon(): void;
  close(): void;
}

export function createSpaced(run: () => void, gapMs: number): Spaced {
  let timer: NodeJS.Timeout | undefined;
  let isAsked = false;

  function rested(): void {
    timer = undefined;
    if (!isAsked) return;
    isAsked = false;
    start();
  }

  function start(): void {
    timer = setTimeout(rested, gapMs);
    run();
  }

  return {
    soon() {
      if (timer === undefined) start();
      else isAsked = true;
    },
    close() {
      clearTimeout(timer);
      timer = undefined;
      isAsked = false;
    },
  };
}
