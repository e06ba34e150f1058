import type { ChildProcess } from 'node:child_process';
import { defaultHookMs, hookCommand } from '../../options/hooks.js';
import type { Settings } from '../../options/launch-options.js';
import { deferred } from '../../util/deferred.js';
import type { Env } from '../../workers/env.js';
import type { HookCall } from '../step/state.js';
import type { HookRun } from './pauses.js';
import { inAscii } from './shell-call.js';

/** Time for what a hook's own children still write when it has ended; they may live on. */
const drainMs = 200;
/** Time from SIGKILL to giving up on a hook that's stuck in the kernel. */
const killWaitMs = 1000;
/** Longest line, in characters: bounds the memory that a hook without newlines can take. */
const maxLine = 64 * 1024;

export interface HookSurroundings {
  readonly settings: Pick<Settings, 'hooks'>;
  readonly env: Env;
  readonly cwd: string | undefined;
  readonly runId: string;
  /** Mark in the hook's environment, by which the guardian finds what it has started. */
  readonly cookie: string;
  /** Called before it's started, and when it's gone. */
  beginGuest(): void;
  endGuest(): void;
  onLine(line: string): void;
}

/** Runs one command as the leader of a session of its own, no longer than it may. @param over at the latest then */
export function runHook(
  call: HookCall,
  over: (problem?: string) => void,
  around: HookSurroundings,
): HookRun {
  const { hooks } = around.settings;
  const timeoutMs = hooks?.timeoutMs ?? defaultHookMs;
  const gone = deferred<void>();
  let isGone = false;
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;
  let child: ChildProcess | undefined;

  function leave(): void {
    if (isGone) return;
    isGone = true;
    // Stuck in the kernel, it mustn't keep Node alive.
    child?.unref();
    around.endGuest();
    gone.resolve();
  }

  function finish(problem?: string): void {
    clearTimeout(timer);
    if (isOver) return;
    isOver = true;
    child?.stdout?.destroy();
    child?.stderr?.destroy();
    over(problem);
  }

  /** Kills the hook's group, whose leader isn't reaped yet, so that the number is still the group's. */
  function kill(): void {
    if (isGone || child?.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended this moment, or changed its user: then nobody here may kill it.
    }
    setTimeout(leave, killWaitMs).unref();
  }

  around.beginGuest();
  try {
    // Only now: it loads Node's sockets, and most runs have no hooks.
    const { script, env, cwd } = inAscii({
      script: hookCommand(hooks, call.name) ?? '',
      env: hookEnv(call, around),
      cwd: around.cwd,
    });
    child = process.getBuiltinModule('node:child_process').spawn('/bin/sh', ['-c', script], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env,
      ...(cwd === undefined ? {} : { cwd }),
    });
  } catch (error) {
    leave();
    finish(cannotStart(error));
    return { end() {}, gone: gone.promise };
  }

  for (const stream of [child.stdout, child.stderr]) {
    const lines = lineSplitter(line => {
      if (!isOver) around.onLine(line);
    });
    stream?.setEncoding('utf8').on('data', lines.add).on('end', lines.end);
  }
  let problem: string | undefined;
  child.on('error', error => {
    leave();
    finish(cannotStart(error));
  });
  child.on('exit', (code, signal) => {
    leave();
    clearTimeout(timer);
    problem ??= howItEnded(code, signal);
    timer = setTimeout(() => finish(problem), drainMs);
  });
  child.on('close', () => finish(problem));
  timer = setTimeout(() => {
    problem = `took longer than ${timeoutMs / 1000} s and was killed`;
    kill();
    timer = setTimeout(() => finish(problem), killWaitMs);
  }, timeoutMs);

  return {
    end() {
      clearTimeout(timer);
      isOver = true;
      kill();
      child?.stdout?.destroy();
      child?.stderr?.destroy();
    },
    gone: gone.promise,
  };
}

function hookEnv(call: HookCall, { env, runId, cookie }: HookSurroundings): NodeJS.ProcessEnv {
  return {
    ...env,
    REGROUP_HOOK: call.name,
    REGROUP_RUN_ID: runId,
    REGROUP_ROUND: String(call.round),
    // Node leaves undefined ones away: we may be a hook's own child.
    REGROUP_REASON: call.reason,
    REGROUP_FAILED_RANK: call.failedRank?.toString(),
    REGROUP_COOKIE: cookie,
  };
}

function howItEnded(code: number | null, signal: string | null): string | undefined {
  if (signal !== null) return `was killed by ${signal}`;
  return code === 0 ? undefined : `exited with code ${code}`;
}

function cannotStart(error: unknown): string {
  return `could not start: ${error instanceof Error ? error.message : String(error)}`;
}

function lineSplitter(onLine: (line: string) => void): {
  readonly add: (text: string) => void;
  readonly end: () => void;
} {
  let rest = '';
  return {
    add(text) {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
      if (rest.length < maxLine) return;
      onLine(rest);
      rest = '';
    },
    end() {
      if (rest !== '') onLine(rest);
      rest = '';
    },
  };
}
