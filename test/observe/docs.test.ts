import { readFileSync } from 'node:fs';
import t from 'tap';
import { createExposition } from '../../lib/observe/metrics/expose.js';
import { parseExposition } from './metrics/exposition.js';

const page = readFileSync('docs/observability.md', 'utf8');

t.test('18.1: every event is in the docs', async t => {
  const { oneOf } = JSON.parse(readFileSync('schema/events.schema.json', 'utf8')) as {
    oneOf: { properties: { event: { const: string } } }[];
  };
  for (const { properties } of oneOf)
    t.match(page, `\`${properties.event.const}\``, properties.event.const);
});

t.test('18.2: every metric is in the docs', async t => {
  const around = { runId: 'r', role: 'r', node: 'n', maxRestarts: 0, measure: () => ({}) };
  const text = await createExposition({ ...around, nowMs: () => 0 }).text();

  for (const name of parseExposition(text).keys())
    t.match(page, new RegExp(`\`${name}[\`{]`), name);
});
