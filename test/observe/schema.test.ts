import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { schemaProblems } from './schema.js';

// The script has no types.
const { eventSchema } = (await import(join(process.cwd(), 'scripts/schema.mjs'))) as {
  eventSchema(): string;
};

const head = { time: '2026-11-30T22:17:58.968Z', node: 'n', runId: 'r' };

t.test('18.1: the published schema is what the types say; else run scripts/schema.mjs', async t => {
  t.equal(readFileSync('schema/events.schema.json', 'utf8'), eventSchema());
});

t.test('18.1: a line is told from what is none', async t => {
  const restarting = { event: 'standbys-taken', round: 1, atMs: 3.5 };

  t.strictSame(schemaProblems({ ...head, ...restarting }), []);
  t.match(schemaProblems({ ...head, ...restarting, round: '1' }), [/round is no number/]);
  t.match(schemaProblems(restarting), [/no time/, /no node/, /no runId/]);
  t.match(schemaProblems({ ...head, ...restarting, more: 1 }), [/more is in no type/]);
  t.not(schemaProblems({ ...head, event: 'never-heard-of', atMs: 1 }).length, 0);
});
