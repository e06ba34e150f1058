import type {
  RestartCause,
  RestartedEvent,
  RestartPhases,
  RestartSummary,
} from '../../events/restarts.js';
import type { AgentEvent } from '../../events.js';
import { duration } from '../../util/duration.js';

const phaseNames = ['noticed', 'stopped', 'paused', 'rendezvous', 'started', 'script'] as const;

const causes: Readonly<Record<RestartCause, string>> = {
  failure: 'failure',
  hang: 'hang',
  'peer-failure': 'failure elsewhere',
  'peer-lost': 'lost node',
  membership: 'coming or leaving node',
  ordered: 'order',
  fenced: 'fencing',
};

type TimesEvent = Extract<AgentEvent, { event: 'restarted' | 'restart-summary' }>;

export function describeTimes(event: TimesEvent): string {
  return event.event === 'restarted' ? describeRestarted(event) : describeSummary(event);
}

/** `restarted in 412 ms: noticed 1 · stopped 38 · rendezvous 12 · started 9 · script 352`: whole milliseconds that add up. */
export function describeRestarted({ phases }: Pick<RestartedEvent, 'phases'>): string {
  let end = 0;
  const parts = phaseNames.flatMap(name => {
    const ms = phases[name];
    if (ms === undefined) return [];
    const begin = end;
    end += ms;
    return [`${name} ${Math.round(end) - Math.round(begin)}`];
  });
  return `restarted in ${Math.round(end)} ms: ${parts.join(' · ')}`;
}

/** The phases that a line of the kind tells, in milliseconds; undefined: it's no such line. */
export function parseRestarted(line: string): RestartPhases | undefined {
  const [, list] = /^regroup: restarted in \d+ ms: (.+)$/.exec(line) ?? [];
  if (list === undefined) return undefined;
  const pairs = list.split(' · ').map(part => part.split(' '));
  return Object.fromEntries(pairs.map(([name = '', ms]) => [name, Number(ms)]));
}

/** `2 restarts (1 × failure, 1 × hang) took 812 ms; the workers trained for 97.3 % of 30.2 s` */
export function describeSummary(summary: RestartSummary): string {
  const { restarts, byCause, lostMs, wallMs, effectiveRatio } = summary;
  const counts = Object.entries(byCause) as [RestartCause, number][]; // its own keys
  const list = counts.map(([cause, count]) => `${count} × ${causes[cause]}`).join(', ');
  const percent = (Math.floor(effectiveRatio * 1000) / 10).toFixed(1);
  const what = restarts === 1 ? 'restart' : 'restarts';
  return `${restarts} ${what} (${list}) took ${duration(lostMs)}; the workers trained for ${percent} % of ${duration(wallMs)}`;
}
