import { startClock, summaryOf, tick } from '../../lib/agent/restarts/clock.js';
import { type Moment, momentsOf } from '../../lib/agent/restarts/moments.js';
import type { Action, AgentState, Ending, Happening, Pause } from '../../lib/agent/step/state.js';
import { initialState, step } from '../../lib/agent/step/step.js';
import { describeRestarted, describeSummary } from '../../lib/cli/text/restarts.js';
import type { AgentEvent, WorkerFailure } from '../../lib/events.js';
import { describeFailures } from '../../lib/failures/describe.js';
import type { Remains } from '../../lib/failures/failure.js';
import type { FailurePolicy, RuleAction } from '../../lib/options/failures.js';
import type { HookName } from '../../lib/options/hooks.js';
import { graceReasons } from '../../lib/options/stopping.js';
import { createAlone } from '../../lib/rendezvous/alone.js';
import type { BreakReason, RendezvousEvent, Verdict } from '../../lib/rendezvous/rendezvous.js';
import { signalNumber } from '../../lib/util/signals.js';

/**
 * Runs a scenario and gives its trace: each line of the script, and below it what follows from it.
 *
 *   policy restarts=1 grace=30000     first line
 *   +20 exit local=1 code=1           20 ms later worker 1 exits; also signal=SIGSEGV, core, unknown
 *   dying local=1 code=1              its early notice, in the same words
 *   preempt=SIGUSR1 limit=60000 grace-failure=5000 are policies, too
 *   notice · preempt-limit · half-grace · forward SIGUSR2 · broken
 *   hung local=1                      a hang rule has found it; `hangs` in the policy: there are rules
 *   hooks=pre-start,pre-stop          in the policy; they end by: pause-over pre-stop, with `failed`
 *   started nproc=2 · start-failed · ended stuck=1 strays=2 left=1 · stop · signal SIGTERM · caller SIGINT
 *   error-file local=1 at=50 words=x  worker 1 has written one then; `described` reads it
 *
 *   formed round=1 rank=1 of=2        with `peers` in the policy nothing but such lines tells of rounds: a round has formed,
 *   round-broken membership           is over for what happens elsewhere (peer-failure, fenced; at=MS),
 *   verdict end                       and the job decides; also restart delay=MS, fail rank=N: the culprit of another node,
 *                                     with `awaits` if other nodes tell of theirs; then: peers-ended rank=N
 *
 * used round=1                      a worker has used its store, which `store` in the policy lets be seen; `unused`: nobody has
 *
 * Failures are described at once, unless it says `ended unread`; then `described` says when. Rounds are prepared at
 * once, unless the line that begins it says `slowly`; then `prepared`, or `prepared failed`, does.
 * `round=N` names another round than the present one. Times are printed as milliseconds since 0.
 */
export function traceOf(script: string): string {
  const lines = script.split('\n').filter(line => line.trim() !== '' && !line.startsWith('#'));
  const policy = parseWords(lines.shift() ?? '');
  let state: AgentState = initialState({
    graceMs: Number(policy.grace ?? 30_000),
    ...(policy.preempt === undefined ? {} : { preemptSignal: policy.preempt }),
    ...(policy.limit === undefined ? {} : { preemptLimitMs: Number(policy.limit) }),
    ...(policy.hangs === undefined ? {} : { watchesForHangs: true }),
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
  let clock = startClock(policy.store !== undefined);
  const trace: string[] = [];
  const remains = new Map<number, Remains>();
  let asked: Extract<Action, { do: 'describe' }> | undefined;
  let preparing: number | undefined;
  const answers: RendezvousEvent[] = [];
  const rendezvous =
    policy.peers === undefined
      ? createAlone(failurePolicyOf(policy), 2, event => answers.push(event))
      : undefined;
  let isHeld = false;
  let isSlow = false;

  function follow(line: string, happening: Happening): void {
    const before = state;
    const [next, actions] = step(state, happening, nowMs);
    state = next;
    trace.push(`${String(nowMs).padStart(6)} ${line}  → ${state.phase}`);
    const done = actions.map(action => `         ${describeAction(action)}`);
    if (happening.event === 'started') trace.push(...done);
    for (const moment of momentsOf(before, happening, [next, actions], nowMs)) note(moment);
    if (happening.event !== 'started') trace.push(...done);
    for (const action of actions) {
      if (action.do === 'describe') asked = action;
      if (action.do === 'prepare-round') preparing = action.plan.round;
      if (action.do === 'begin-pause' && action.pause.name === 'join') rendezvous?.join();
      if (action.do === 'report') rendezvous?.report(action.report);
      if (action.do === 'succeed') rendezvous?.succeed(action.round);
      if (action.do === 'start-round') remains.clear();
    }
    // A node that is alone is answered within the call.
    for (let next = answers.shift(); next !== undefined; next = answers.shift())
      follow(describeAnswer(next), next);
  }

  /** What's told of restarts comes before the actions, but behind the start of a round. */
  function note(moment: Moment): void {
    const [next, told] = tick(clock, moment);
    clock = next;
    trace.push(...told.map(event => `         tell: ${describeEvent(event)}`));
    const summary = moment.what === 'ended' ? summaryOf(clock, nowMs) : undefined;
    if (summary !== undefined) trace.push(`         tell: ${describeSummary(summary)}`);
  }

  function prepareAsked(why?: string): void {
    if (preparing === undefined) return;
    const round = preparing;
    preparing = undefined;
    const error = why === undefined ? {} : { error: new Error(why) };
    follow(why === undefined ? 'prepared' : 'not prepared', { event: 'prepared', round, ...error });
  }

  function describeAsked(): void {
    if (asked === undefined) return;
    const { round, ...end } = asked;
    asked = undefined;
    // Unix time begins with the scenario.
    const around = { host: 'node-a', unixAheadMs: 0 };
    const failures = describeFailures(end, localRank => remains.get(localRank), around);
    follow('described', { event: 'described', round, failures });
  }

  for (const line of lines) {
    const [, later = '0', what = line] = /^\+(\d+) (.*)$/.exec(line) ?? [];
    nowMs += Number(later);
    const [word = '', ...rest] = what.split(/\s+/);
    if (word === 'error-file') {
      const { local = '', at = nowMs, words = '-' } = parseWords(rest.join(' '));
      const file = { kind: 'read', message: words, traceback: words } as const;
      remains.set(Number(local), { recorded: { file, writtenAtMs: Number(at) } });
    } else if (word === 'used' || word === 'unused') {
      trace.push(`${String(nowMs).padStart(6)} ${what}  → ${state.phase}`);
      note({ what: word, round: Number(parseWords(rest.join(' ')).round), atMs: nowMs });
    } else if (word === 'prepared') {
      isSlow = false;
      prepareAsked(rest.includes('failed') ? 'no space left' : undefined);
    } else {
      isHeld = word !== 'described' && (isHeld || rest.includes('unread'));
      isSlow ||= rest.includes('slowly');
      if (word !== 'described') follow(what, happeningOf(what, state, nowMs));
      if (!isHeld) describeAsked();
      if (!isSlow) prepareAsked();
    }
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
      const master = { masterAddr: '127.0.0.1', masterPort: 29500 };
      return { event: 'started', ...at, workers, ...master, rendezvousMs: 0 };
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
        strays: Array.from({ length: Number(values.strays ?? 0) }, (_, i) => ({
          pid: 900 + i,
          command: 'sleep',
        })),
        left: Array.from({ length: Number(values.left ?? 0) }, (_, i) => ({
          pid: 950 + i,
          command: 'rclone',
        })),
        progress: Number(values.step ?? 0),
      };
    }
    case 'formed': {
      const [round, groupRank, groupWorldSize] = [at.round, Number(values.rank), Number(values.of)];
      const place = {
        groupRank,
        groupWorldSize,
        firstRank: 2 * groupRank,
        worldSize: 2 * groupWorldSize,
      };
      const master = { host: 'node-b', port: 29500, isOurs: groupRank === 0 };
      return { event: 'round-formed', round, restartCount: round, place, master };
    }
    case 'round-broken': {
      const because = (rest[0] ?? '') as BreakReason; // the scenario's own words
      const since = values.at === undefined ? {} : { atMs: at.atMs };
      return { event: 'round-broken', round: at.round, because, ...since };
    }
    case 'verdict':
      return { event: 'verdict', round: at.round, verdict: verdictOf(rest[0], values, at.round) };
    case 'peers-ended':
      return { event: 'peers-ended', failures: [failureOf(Number(values.rank), 15)] };
    case 'broken':
      return { event: 'broken', error: new Error('out of threads') };
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
    case 'half-grace':
      return { event: word, round: at.round };
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

function verdictOf(
  what: string | undefined,
  values: Record<string, string>,
  round: number,
): Verdict {
  if (what === 'end') return { do: 'end' };
  if (what === 'restart') {
    const delayMs = Number(values.delay ?? 0);
    return { do: 'restart', round: round + 1, delayMs, restartsLeft: 1, maxRestarts: 2 };
  }
  const failures = [failureOf(Number(values.rank ?? 0), 9)];
  const awaits = values.awaits === undefined ? {} : { awaitsPeers: true as const };
  return { do: 'fail', because: 'no-restarts-left', failures, ...awaits };
}

/** Of another node. */
function failureOf(rank: number, code: number): WorkerFailure {
  return {
    rank,
    localRank: 0,
    pid: 1,
    exit: { how: 'exited', code },
    exitcode: code,
    cause: 'own',
    duringStop: code !== 9,
    durationMs: 1,
    message: '',
    traceback: '',
    timestamp: 0,
    host: 'node-b',
  };
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
      return `${action.do} ${action.plan.round} (restart count ${action.plan.restartCount})`;
    case 'report':
      return `report ${action.report.round}`;
    case 'announce':
    case 'succeed':
      return `${action.do} ${action.round}`;
    case 'leave':
      return 'leave';
    case 'conclude':
      return `conclude: ${describeAll(action.failures)}`;
    case 'start-round':
      return `start-round ${action.round}`;
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
    case 'tell-outlasting': {
      const { workers, signal, forMs, leftMs } = action.told;
      const ranks = workers.map(({ rank }) => rank).join(' ');
      return `tell-outlasting ${action.round}: ${ranks}, ${forMs} ms after ${signal}, KILL in ${leftMs} ms`;
    }
    case 'watch-round':
    case 'unwatch-round':
      return `${action.do} ${action.round}`;
    case 'describe':
      return `describe ${action.round}`;
    case 'finish':
      return `finish: ${describeEnding(action.ending)}`;
  }
}

function describeAnswer(event: RendezvousEvent): string {
  if (event.event === 'round-formed') return `round ${event.round} formed`;
  if (event.event === 'round-broken') return `round ${event.round} broken: ${event.because}`;
  if (event.event === 'peers-ended') return 'the others have told of theirs';
  return `verdict on ${event.round}: ${event.verdict.do}`;
}

function describePause(pause: Pause): string {
  if (pause.name === 'join' || pause.name === 'peers') return pause.name;
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
    case 'restarted':
      return `round ${event.round} (${event.cause}): ${describeRestarted(event)}`;
    case 'restarting':
      return `restarting, ${event.restartsLeft} of ${event.maxRestarts} left${event.windowLeft === undefined ? '' : `, ${event.windowLeft} in the window`}${event.rule === undefined ? '' : ` (rule ${event.rule})`}; ${describeAll(event.failures)}`;
    case 'stopping':
      return `stopping (${event.reason}): ${event.signal}, grace ${event.graceMs} ms`;
    case 'worker-stuck':
      return `worker ${event.worker.rank} is stuck in ${event.state} at ${event.waitChannel}`;
    case 'hook-failed':
      return `${event.hook} of round ${event.round} ${event.reason}`;
    case 'strays-killed':
      return `${event.count} strays killed`;
    case 'strays-left':
      return `left alone: ${event.processes.map(({ command }) => command).join(' ')}`;
    default:
      return event.event;
  }
}

function describeEnding(ending: Ending): string {
  switch (ending.outcome) {
    case 'preempted':
      return `preempted; ${describeAll(ending.failures)}`;
    case 'failed':
      return `failed (${ending.because}${ending.rule === undefined ? '' : `: ${ending.rule}`}); ${describeAll(ending.failures)}`;
    case 'stopped':
      return `stopped by ${ending.by} ${ending.signal}${ending.nodeUnfit ? ', node unfit' : ''}`;
    case 'error':
      return `error: ${String(ending.error)}`;
    case 'succeeded':
      return 'succeeded';
  }
}

/** The root cause first. */
function describeAll(failures: readonly WorkerFailure[]): string {
  return failures
    .map(({ rank, exit, cause, outlasted }) => {
      const how =
        exit.how === 'exited' ? exit.code : exit.how === 'signaled' ? exit.signal : 'unknown';
      const late =
        outlasted === undefined ? '' : `, ${outlasted.graceMs} ms after ${outlasted.signal}`;
      return `${rank}=${how} (${cause}${late})`;
    })
    .join(', ');
}
