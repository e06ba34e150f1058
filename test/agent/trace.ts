import type { FailurePolicy, RuleAction } from '../../lib/agent/failure-policy.js';
import type { Action, AgentState, Ending, Happening, Pause } from '../../lib/agent/state.js';
import { initialState, step } from '../../lib/agent/step.js';
import type { AgentEvent } from '../../lib/events.js';
import { graceReasons } from '../../lib/options/grace.js';
import type { HookName } from '../../lib/options/hooks.js';
import { signalNumber } from '../../lib/util/signals.js';

/**
 * Runs a scenario and gives its trace: each line of the script, and below it what follows from it.
 *
 *   policy restarts=1 grace=30000     first line
 *   +20 exit local=1 code=1           20 ms later worker 1 exits; also signal=SIGSEGV, core, unknown
 *   dying local=1 code=1              its early notice, in the same words
 *   preempt=SIGUSR1 limit=60000 grace-failure=5000 are policies, too
 *   notice · preempt-limit · forward SIGUSR2
 *   hung local=1                      a hang rule has found it
 *   hooks=pre-start,pre-stop          in the policy; they end by: pause-over pre-stop, with `failed`
 *   started nproc=2 · start-failed · ended stuck=1 strays=2 · stop · signal SIGTERM · caller SIGINT
 *
 * `round=N` names another round than the present one. Times are printed as milliseconds since 0.
 */
export function traceOf(script: string): string {
  const lines = script.split('\n').filter(line => line.trim() !== '' && !line.startsWith('#'));
  const policy = parseWords(lines.shift() ?? '');
  let state: AgentState = initialState({
    failures: failurePolicyOf(policy),
    graceMs: Number(policy.grace ?? 30_000),
    ...(policy.preempt === undefined ? {} : { preemptSignal: policy.preempt }),
    ...(policy.limit === undefined ? {} : { preemptLimitMs: Number(policy.limit) }),
    ...(policy.gpus === undefined ? {} : { waitsForGpus: true }),
    ...(policy.hooks === undefined ? {} : { hooks: policy.hooks.split(',') as HookName[] }), // its own words
    graceByReasonMs: Object.fromEntries(
      graceReasons.flatMap(reason => {
        const given = policy[`grace-${reason}`];
        return given === undefined ? [] : [[reason, Number(given)]];
      }),
    ),
  });
  let nowMs = 0;
  const trace: string[] = [];
  for (const line of lines) {
    const later = /^\+(\d+) (.*)$/.exec(line);
    nowMs += Number(later?.[1] ?? 0);
    const [next, actions] = step(state, happeningOf(later?.[2] ?? line, state, nowMs), nowMs);
    state = next;
    trace.push(`${String(nowMs).padStart(6)} ${later?.[2] ?? line}  → ${state.phase}`);
    trace.push(...actions.map(action => `         ${describeAction(action)}`));
  }
  return trace.join('\n');
}

function happeningOf(line: string, state: AgentState, nowMs: number): Happening {
  const [word = '', ...rest] = line.trim().split(/\s+/);
  const values = parseWords(rest.join(' '));
  const current = 'round' in state ? state.round : 0;
  const at = { round: Number(values.round ?? current), atMs: Number(values.at ?? nowMs) };
  switch (word) {
    case 'launch':
      return { event: 'launch' };
    case 'started': {
      const workers = Array.from({ length: Number(values.nproc) }, (_, localRank) => ({
        identity: { rank: localRank, localRank, pid: 100 * (at.round + 1) + localRank },
        startedAtMs: nowMs,
      }));
      return { event: 'started', ...at, workers, masterAddr: '127.0.0.1', masterPort: 29500 };
    }
    case 'start-failed':
      return { event: 'start-failed', round: at.round, error: new Error('no such program') };
    case 'exit':
      return { event: 'exited', ...at, localRank: Number(values.local), exit: exitOf(values) };
    case 'hung': {
      const localRank = Number(values.local);
      const worker = { rank: localRank, localRank, pid: 100 * (at.round + 1) + localRank };
      const hang = { worker, rule: 'silence', forMs: 1, message: 'no output' } as const;
      return { event: 'hung', round: at.round, hang };
    }
    case 'dying':
      return { event: 'dying', ...at, localRank: Number(values.local), exit: exitOf(values) };
    case 'ended': {
      const stuck =
        values.stuck === undefined
          ? []
          : [
              {
                localRank: Number(values.stuck),
                state: 'D',
                waitChannel: 'nv_wait',
                kernelStack: '',
              },
            ];
      return {
        event: 'group-ended',
        ...at,
        stuck,
        strays: Number(values.strays ?? 0),
        progress: Number(values.step ?? 0),
        ...(values.words === undefined
          ? {}
          : { rootCause: { localRank: Number(values.root ?? 0), words: values.words } }),
      };
    }
    case 'progress':
      return { event: 'progress', round: at.round, step: Number(values.step) };
    case 'pause-over':
      return {
        event: 'pause-over',
        round: at.round,
        pause: (rest[0] ?? 'back-off') as Pause['name'], // the scenario's own words
        ...(rest[1] === 'failed' ? { problem: 'exited with code 1' } : {}),
      };
    case 'notice':
      return { event: 'notice', by: 'signal' };
    case 'preempt-limit':
      return { event: 'preempt-limit', round: at.round };
    case 'forward':
      return { event: 'forward', signal: rest[0] ?? '' };
    case 'signal':
    case 'caller': {
      const [signal] = rest;
      const by = word === 'signal' ? 'signal' : 'caller';
      return { event: 'stop', by, ...(signal === undefined ? {} : { signal }) };
    }
    default:
      throw new Error(`no such line in a scenario: ${line}`);
  }
}

/** `rules=3:fail,5:restart-free,/oom/:fail-without-requeue`, `window=2/10000`, `backoff=1000/8000`, … */
function failurePolicyOf(words: Record<string, string>): FailurePolicy {
  const pair = (text: string): [number, number] => {
    const [one, other] = text.split('/').map(Number);
    return [one ?? 0, other ?? 0];
  };
  const { window, backoff, failfast, noprogress, healthy } = words;
  return {
    maxRestarts: Number(words.restarts ?? 0),
    resetOnProgress: words.reset !== undefined,
    rules: (words.rules ?? '')
      .split(',')
      .filter(text => text !== '')
      .map(text => {
        const [what = '', action] = text.split(':');
        const code = Number(what);
        return {
          ...(what.startsWith('/')
            ? { pattern: new RegExp(what.slice(1, -1)) }
            : { exitCodes: [[code, code] as const] }),
          action: action as RuleAction, // the scenario's own words
          text,
        };
      }),
    ...(window === undefined
      ? {}
      : { window: { restarts: pair(window)[0], perMs: pair(window)[1] } }),
    ...(backoff === undefined
      ? {}
      : { backOff: { firstMs: pair(backoff)[0], maxMs: pair(backoff)[1] } }),
    ...(failfast === undefined ? {} : { failFastMs: Number(failfast) }),
    ...(noprogress === undefined ? {} : { noProgressRounds: Number(noprogress) }),
    ...(healthy === undefined ? {} : { healthyMs: Number(healthy) }),
  };
}

function exitOf(values: Record<string, string>): Extract<Happening, { event: 'exited' }>['exit'] {
  if (values.unknown !== undefined) return { how: 'unknown' };
  const { signal } = values;
  if (signal === undefined) return { how: 'exited', code: Number(values.code ?? 0) };
  const coreDumped = values.core !== undefined;
  return { how: 'signaled', signal, signalNumber: signalNumber(signal) ?? 0, coreDumped };
}

function parseWords(line: string): Record<string, string> {
  return Object.fromEntries(
    line.split(/\s+/).map(word => {
      const [name = '', value = ''] = word.split('=');
      return [name, value];
    }),
  );
}

export function describeAction(action: Action): string {
  switch (action.do) {
    case 'prepare-round':
    case 'discard-round':
    case 'start-round':
      return `${action.do} ${action.round} (restart count ${action.restartCount})`;
    case 'stop-group':
      return `stop-group ${action.round}: ${action.signal}, KILL after ${action.graceMs} ms`;
    case 'begin-pause':
      return `begin-pause ${describePause(action.pause)}`;
    case 'end-pause':
      return `end-pause ${action.pause}`;
    case 'signal-group':
      return `signal-group ${action.round}: ${action.signal}`;
    case 'set-notice':
      return `set-notice ${action.round}: ${action.notice}`;
    case 'arm-preempt-limit':
      return `arm-preempt-limit ${action.round}: ${action.afterMs} ms`;
    case 'release-round':
      return `release-round ${action.round}`;
    case 'tell':
      return `tell: ${describeEvent(action.event)}`;
    case 'tell-restarting':
      return `tell: restarting, ${action.restartsLeft} of ${action.maxRestarts} left${action.windowLeft === undefined ? '' : `, ${action.windowLeft} in the window`}${action.rule === undefined ? '' : ` (rule ${action.rule})`}; ${action.exits.map(describeExit).join(', ')}`;
    case 'finish':
      return `finish: ${describeEnding(action.ending)}`;
  }
}

function describePause(pause: Pause): string {
  if (pause.name === 'back-off') return `back-off ${pause.ms} ms`;
  if (pause.name === 'gpus')
    return `gpus of round ${pause.round}${pause.strangers ? ', strangers too' : ''}`;
  const { name, round, reason, failedRank } = pause;
  const why = reason === undefined ? '' : `, ${reason}`;
  return `${name} of round ${round}${why}${failedRank === undefined ? '' : `, rank ${failedRank}`}`;
}

function describeEvent(event: AgentEvent): string {
  switch (event.event) {
    case 'round-started':
      return `round ${event.round} started, pids ${event.workers.map(({ pid }) => pid).join(' ')}`;
    case 'worker-exited':
      return `worker ${event.worker.rank} ${JSON.stringify(event.exit)} after ${event.durationMs} ms${event.duringStop ? ', stopping' : ''}`;
    case 'worker-dying':
      return `worker ${event.worker.rank} is ending: ${JSON.stringify(event.exit)} after ${event.durationMs} ms${event.duringStop ? ', stopping' : ''}`;
    case 'stopping':
      return `stopping (${event.reason}): ${event.signal}, grace ${event.graceMs} ms`;
    case 'worker-stuck':
      return `worker ${event.worker.rank} is stuck in ${event.state} at ${event.waitChannel}`;
    case 'hook-failed':
      return `${event.hook} of round ${event.round} ${event.reason}`;
    case 'strays-killed':
      return `${event.count} strays killed`;
    default:
      return event.event;
  }
}

function describeEnding(ending: Ending): string {
  switch (ending.outcome) {
    case 'preempted':
      return `preempted; ${ending.exits.map(describeExit).join(', ')}`;
    case 'failed':
      return `failed (${ending.because}${ending.rule === undefined ? '' : `: ${ending.rule}`}); ${ending.exits.map(describeExit).join(', ')}`;
    case 'stopped':
      return `stopped by ${ending.by} ${ending.signal}${ending.nodeUnfit ? ', node unfit' : ''}`;
    case 'error':
      return `error: ${String(ending.error)}`;
    case 'succeeded':
      return 'succeeded';
  }
}

function describeExit({
  worker,
  exit,
  cause,
}: Extract<Ending, { outcome: 'failed' }>['exits'][number]): string {
  const how = exit.how === 'exited' ? exit.code : exit.how === 'signaled' ? exit.signal : 'unknown';
  return `${worker.rank}=${how} (${cause})`;
}
