import type { RestartPhases } from '../../events/restarts.js';
import { type Machine, phaseWords, type Row, whole } from './report.js';

const barHeight = 22;
const rowGap = 10;
const left = 190;
const plotWidth = 560;
const right = 110;
const top = 58;
const bottom = 40;

/** Colours of the phases, and of what isn't told by phases. */
const colors: Readonly<Record<keyof RestartPhases | 'whole', string>> = {
  noticed: '#d62728',
  stopped: '#ff9f40',
  paused: '#c7c7c7',
  rendezvous: '#9467bd',
  started: '#1f77b4',
  script: '#59a869',
  whole: '#8c8c8c',
};

/** A picture of the rows that needs nothing beside it: bars to the medians, whiskers from quartile to quartile. */
export function pictureOf(rows: readonly Row[], machine: Machine): string {
  const height = top + rows.length * (barHeight + rowGap) + bottom;
  const width = left + plotWidth + right;
  const most = Math.max(1, ...rows.map(({ figures }) => figures?.q3 ?? 0));
  const x = (ms: number): number => left + (ms / most) * plotWidth;
  const { date, cpu, kernel } = machine;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    text(
      12,
      22,
      'Restarts: median time, ms; lines from quartile to quartile',
      'font-weight="bold"',
    ),
    text(12, 40, `${date}, ${cpu}, Linux ${kernel}`, 'fill="#555" font-size="11"'),
    ...rows.flatMap((row, index) => bar(row, top + index * (barHeight + rowGap), x)),
    ...legend(rows, height - 14),
    '</svg>',
    '',
  ].join('\n');
}

function bar({ kind, launcher, figures, phases }: Row, y: number, x: (ms: number) => number) {
  const middle = y + barHeight / 2;
  const name = text(12, middle + 4, `${kind}, ${launcher}`);
  if (figures === undefined) return [name, text(x(0), middle + 4, 'no step came')];
  const { median, q1, q3 } = figures;
  const title =
    phases === undefined ? '' : `<title>${escaped(phaseWords(phases).join(', '))}</title>`;
  return [
    name,
    `<g>${title}${segments(median, phases, y, x).join('')}</g>`,
    `<path d="M${round(x(q1))} ${middle}H${round(x(q3))}M${round(x(q1))} ${middle - 5}v10M${round(x(q3))} ${middle - 5}v10" stroke="#000" fill="none"/>`,
    text(x(q3) + 8, middle + 4, `${whole(median)} ms`),
  ];
}

/** The phases' share of the median; what they don't tell is grey. */
function segments(
  median: number,
  phases: RestartPhases | undefined,
  y: number,
  x: (ms: number) => number,
): string[] {
  const told = Object.entries(phases ?? {}) as [keyof RestartPhases, number][]; // its own keys
  let begin = 0;
  const part = (name: keyof typeof colors, ms: number): string => {
    const end = Math.min(median, begin + ms);
    const rect = `<rect x="${round(x(begin))}" y="${y}" width="${round(x(end) - x(begin))}" height="${barHeight}" fill="${colors[name]}"/>`;
    begin = end;
    return rect;
  };
  return [...told.map(([name, ms]) => part(name, ms)), part('whole', median - begin)];
}

function legend(rows: readonly Row[], y: number): string[] {
  const names = new Set(rows.flatMap(({ phases = {} }) => Object.keys(phases)));
  let x = 12;
  return [...names].flatMap(name => {
    const color = colors[name as keyof RestartPhases];
    const at = x;
    x += 30 + name.length * 8;
    return [
      `<rect x="${at}" y="${y - 10}" width="11" height="11" fill="${color}"/>`,
      text(at + 16, y, name, 'font-size="11"'),
    ];
  });
}

function text(x: number, y: number, words: string, attributes = ''): string {
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${escaped(words)}</text>`;
}

function round(value: number): string {
  return value.toFixed(1);
}

function escaped(words: string): string {
  const names = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
  return words.replace(/[&<>"]/g, char => names[char as keyof typeof names]);
}
