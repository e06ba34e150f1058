/** A metric family of Prometheus's text format. */
export interface Family {
  readonly type: string;
  readonly help: string;
  /** By name and labels, as `name{a="b"}`. */
  readonly samples: ReadonlyMap<string, number>;
}

const name = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const label = `[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"`;
const sample = new RegExp(`^(${name})(\\{${label}(?:,${label})*\\})? (\\S+)$`);
const number = /^(?:[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?)|[+-]?Inf|NaN)$/;

/**
 * Parses the text format, and forgives nothing: each family has its HELP, its TYPE and then its samples, once and together; no sample comes twice;
 * histograms are whole.
 *
 * @source https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4
 */
export function parseExposition(text: string): ReadonlyMap<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line has no line break');
  const families = new Map<string, { type: string; help: string; samples: Map<string, number> }>();
  let current: { name: string; type: string } | undefined;
  for (const line of text.slice(0, -1).split('\n')) {
    if (line === '') continue;
    const help = new RegExp(`^# HELP (${name}) (.+)$`).exec(line);
    const type = new RegExp(`^# TYPE (${name}) (counter|gauge|histogram)$`).exec(line);
    if (help !== null) {
      const [, family = '', words = ''] = help;
      if (families.has(family)) throw new Error(`twice: ${line}`);
      families.set(family, { type: '', help: words, samples: new Map() });
      current = undefined;
      continue;
    }
    if (type !== null) {
      const [, family = '', kind = ''] = type;
      const made = families.get(family);
      if (made === undefined || made.type !== '') throw new Error(`no help before: ${line}`);
      made.type = kind;
      current = { name: family, type: kind };
      continue;
    }
    const [, own = '', labels = '', value = ''] = sample.exec(line) ?? [];
    if (own === '' || !number.test(value)) throw new Error(`no sample: ${line}`);
    if (current === undefined || !belongs(own, current)) throw new Error(`misplaced: ${line}`);
    const { samples } = families.get(current.name) as { samples: Map<string, number> }; // current is one of them
    if (samples.has(own + labels)) throw new Error(`twice: ${line}`);
    if (current.type === 'counter' && !(Number(value) >= 0)) throw new Error(`negative: ${line}`);
    samples.set(own + labels, Number(value.replace('Inf', 'Infinity')));
  }
  for (const [family, { type, samples }] of families) {
    if (type === '') throw new Error(`${family} has no type`);
    if (type === 'counter' && !family.endsWith('_total')) throw new Error(`${family}, a counter`);
    if (type === 'histogram') checkHistogram(family, samples);
  }
  return families;
}

function belongs(own: string, family: { readonly name: string; readonly type: string }): boolean {
  if (family.type !== 'histogram') return own === family.name;
  return ['_bucket', '_sum', '_count'].some(end => own === family.name + end);
}

/** Buckets never shrink, and the last one counts all. */
function checkHistogram(family: string, samples: ReadonlyMap<string, number>): void {
  for (const [key, count] of samples) {
    if (!key.startsWith(`${family}_count`)) continue;
    const labels = key.slice(`${family}_count`.length).replace(/^\{|\}$/g, '');
    const buckets = [...samples].filter(
      ([each]) =>
        each.startsWith(`${family}_bucket{`) && each.includes(labels === '' ? '' : labels),
    );
    const counts = buckets.map(([, each]) => each);
    if (counts.some((each, i) => each < (counts[i - 1] ?? 0))) throw new Error(`${key} shrinks`);
    if (!buckets.at(-1)?.[0].includes('le="+Inf"') || counts.at(-1) !== count)
      throw new Error(`${key} is not its last bucket`);
    if (!samples.has(key.replace('_count', '_sum'))) throw new Error(`${key} has no sum`);
  }
}
