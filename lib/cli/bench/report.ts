import { cpus, release } from 'node:os';
import type { RestartPhases } from '../../events/restarts.js';
import { columns } from '../text/columns.js';
import type { Measured, Sample } from './measure.js';
import type { BenchOptions, KillKind } from './options.js';

/** Figures of one kind with one launcher, in milliseconds. */
export interface Figures {
  readonly count: number;
  readonly min: number;
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
  readonly max: number;
}

export interface Row {
  readonly kind: KillKind;
  readonly launcher: string;
  /** Absent where no step has come after any kill. */
  readonly figures?: Figures;
  /** Kills after which none came. */
  readonly failed: number;
  /** Medians of our own phases, where there are any. */
  readonly phases?: RestartPhases;
  /** Processes that killed launchers have left behind, all together. */
  readonly left: number;
}

/** What was measured on, for whoever reads it elsewhere. */
export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly kernel: string;
  readonly node: string;
}

export function thisMachine(): Machine {
  const cores = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: `${cores.length} × ${cores[0]?.model ?? 'unknown'}`,
    kernel: release(),
    node: process.version,
  };
}

/** A row for each kind and launcher. */
export function rowsOf(kinds: readonly KillKind[], measured: readonly Measured[]): Row[] {
  return kinds.flatMap(kind =>
    measured.flatMap(({ launcher, samples }) => {
      const own = samples.filter(sample => sample.kind === kind);
      if (own.length === 0) return [];
      const phases = medianPhases(own);
      const left = own.reduce((sum, sample) => sum + (sample.left ?? 0), 0);
      const times = own.flatMap(({ totalMs }) => (totalMs === undefined ? [] : [totalMs]));
      return [
        {
          kind,
          launcher: launcher.name,
          ...(times.length === 0 ? {} : { figures: figuresOf(times) }),
          ...(phases === undefined ? {} : { phases }),
          failed: own.length - times.length,
          left,
        },
      ];
    }),
  );
}

/** Quartiles by linear interpolation between the samples. @param values at least one */
export function figuresOf(values: readonly number[]): Figures {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => {
    const place = share * (sorted.length - 1);
    const [low = 0, high = 0] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]];
    return low + (high - low) * (place - Math.floor(place));
  };
  const [min, q1, median, q3, max] = [at(0), at(0.25), at(0.5), at(0.75), at(1)];
  return { count: sorted.length, min, q1, median, q3, max };
}

function medianPhases(samples: readonly Sample[]): RestartPhases | undefined {
  const told = samples.flatMap(({ phases }) => (phases === undefined ? [] : [phases]));
  const names = [
    ...new Set(told.flatMap(phases => Object.keys(phases))),
  ] as (keyof RestartPhases)[];
  if (names.length === 0) return undefined;
  return Object.fromEntries(
    names.map(name => [name, figuresOf(told.map(phases => phases[name] ?? 0)).median]),
  );
}

/** The table, for people. Ends with a line break. */
export function tableText(rows: readonly Row[], options: BenchOptions, machine: Machine): string {
  const what =
    options.step === undefined
      ? "from the worker's death to the first use of the new round's store, as regroup tells it"
      : `from the kill to the next round's first line like ${options.step}`;
  const cells = [
    ['kill', 'launcher', 'n', 'failed', 'median', 'quartiles', 'min–max', ''],
    ...rows.map(row => [...cellsOf(row), ratioOf(row, rows)]),
  ];
  const lines = columns(cells, column => column >= 2);
  const phases = rows.flatMap(({ kind, launcher, phases }) =>
    phases === undefined
      ? []
      : [`${kind}, ${launcher}, medians of the phases: ${phaseWords(phases).join(' · ')}`],
  );
  const left = rows.flatMap(({ launcher, left }) =>
    left === 0 ? [] : [`killed, ${launcher} left ${left} processes behind, which were killed`],
  );
  const { date, cpu, kernel, node } = machine;
  const head = [`restarts, ms ${what}`, `${date}, ${cpu}, Linux ${kernel}, Node ${node}`];
  return `${[...head, '', ...lines, '', ...phases, ...left].join('\n').trimEnd()}\n`;
}

function cellsOf({ kind, launcher, figures, failed }: Row): string[] {
  const first = [kind, launcher, String((figures?.count ?? 0) + failed), String(failed)];
  if (figures === undefined) return [...first, '–', '–', '–'];
  const { median, q1, q3, min, max } = figures;
  return [...first, whole(median), `${whole(q1)}–${whole(q3)}`, `${whole(min)}–${whole(max)}`];
}

/** How it compares with the other launcher's row of the same kind; empty for whoever is no first. */
function ratioOf(row: Row, rows: readonly Row[]): string {
  const { figures } = row;
  const [first, other] = rows.filter(({ kind }) => kind === row.kind);
  if (first !== row || figures === undefined || other?.figures === undefined) return '';
  return `${(figures.median / other.figures.median).toFixed(2)} × ${other.launcher}`;
}

export function phaseWords(phases: RestartPhases): string[] {
  return Object.entries(phases).map(([name, ms]) => `${name} ${whole(ms)}`);
}

export function whole(ms: number): string {
  return ms.toFixed(0);
}

/** The same for programs. */
export function jsonText(
  rows: readonly Row[],
  measured: readonly Measured[],
  { kinds, kills, step, args }: BenchOptions,
  machine: Machine,
): string {
  const job = { kinds, kills, step: step?.source, args };
  const launchers = measured.map(({ launcher: { name, command }, samples }) => ({
    name,
    command,
    samples,
  }));
  return `${JSON.stringify({ version: 1, unit: 'ms', machine, job, rows, launchers }, undefined, 2)}\n`;
}
