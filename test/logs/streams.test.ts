import t from 'tap';
import { workerFiles } from '../../lib/logs/layout.js';
import { anyRedirected, type OutputOptions, streamsOf } from '../../lib/logs/streams.js';
import type { StreamsByRank } from '../../lib/options/logs.js';

const none: OutputOptions = {
  redirects: 'none',
  tee: 'none',
  localRanksFilter: [],
  duplicateStdoutFilters: [],
  duplicateStderrFilters: [],
};
const files = workerFiles('/a', 1);

/** `console`, `null`, `file`, `tee` for each stream. */
function where(output: Partial<OutputOptions>, withFiles = true): string {
  const streams = streamsOf(
    { ...none, ...output },
    { localRank: 1, prefix: '[default1]:', files: withFiles ? files : undefined },
  );
  return [streams.stdout, streams.stderr]
    .map(stream => {
      switch (stream.to) {
        case 'pipe':
          return `${stream.file === undefined ? '' : 'file+'}console ${stream.console}`;
        default:
          return stream.to;
      }
    })
    .join(', ');
}

t.test('L-072 L-073 L-074 L-078 streams go where torchrun sends them', t => {
  type Case = [redirects: StreamsByRank, tee: StreamsByRank, filter: number[], expected: string];
  const cases: Case[] = [
    ['none', 'none', [], 'inherit, inherit'],
    ['stdout', 'none', [], 'file, inherit'],
    ['stderr', 'none', [], 'inherit, file'],
    ['both', 'none', [], 'file, file'],
    ['none', 'both', [], 'file+console 1, file+console 2'],
    ['stdout', 'stderr', [], 'file, file+console 2'],
    ['both', 'stdout', [], 'file+console 1, file'],
    [{ 0: 'both' }, 'none', [], 'inherit, inherit'],
    [{ 1: 'stdout' }, { 0: 'both' }, [], 'file, inherit'],
    ['none', 'none', [1], 'inherit, inherit'],
    ['none', 'none', [0], 'null, null'],
    ['stdout', 'none', [0], 'file, null'],
    ['none', 'stdout', [0], 'file, null'],
    ['stderr', 'both', [0, 2], 'file, file'],
    ['none', 'stdout', [0, 1], 'file+console 1, inherit'],
  ];
  for (const [redirects, tee, localRanksFilter, expected] of cases) {
    t.equal(
      where({ redirects, tee, localRanksFilter }),
      expected,
      JSON.stringify([redirects, tee, localRanksFilter]),
    );
  }
  t.end();
});

t.test(
  'without files nothing is lost: redirects stay on the console, tees keep their prefix',
  t => {
    t.equal(where({ redirects: 'both' }, false), 'inherit, inherit');
    t.equal(where({ tee: 'stdout' }, false), 'console 1, inherit');
    t.equal(where({ tee: 'stdout', localRanksFilter: [0] }, false), 'null, null');
    t.end();
  },
);

t.test('L-079 filters apply to streams that are tee’d', t => {
  const output = {
    ...none,
    tee: 'stdout',
    redirects: 'stderr',
    duplicateStdoutFilters: ['loss', 'a,b'],
    duplicateStderrFilters: ['error'],
  } as const;
  const worker = { localRank: 1, prefix: '[default1]:', files };

  const { stdout, stderr } = streamsOf(output, worker);

  t.strictSame(stdout, {
    to: 'pipe',
    file: '/a/1/stdout.log',
    console: 1,
    prefix: '[default1]:',
    filters: ['loss', 'a,b'],
    filteredFile: '/a/filtered_stdout.log',
  });
  t.strictSame(stderr, { to: 'file', path: '/a/1/stderr.log' });
  t.end();
});

t.test('a run knows whether anything ends up in a file', t => {
  t.equal(anyRedirected(none, 4), false);
  t.equal(anyRedirected({ ...none, tee: 'stdout' }, 4), true);
  t.equal(anyRedirected({ ...none, redirects: { 3: 'both' } }, 4), true);
  t.equal(anyRedirected({ ...none, redirects: { 3: 'both' } }, 3), false);
  t.end();
});
