import t from 'tap';
import { didYouMean, nearest } from '../../lib/util/nearest.js';

const names = ['--nproc-per-node', '--max-restarts', '--hang-silence', '--on-exit', '--tee', '-t'];

t.test('F-U8: the nearest name is the one that was probably meant', t => {
  const cases: [given: string, meant: string | undefined][] = [
    ['--nproc-pre-node', '--nproc-per-node'],
    ['--nprocPerNode', '--nproc-per-node'],
    ['--hang-silense', '--hang-silence'],
    ['--on-ext', '--on-exit'],
    ['--nproc', '--nproc-per-node'],
    ['--restarts', '--max-restarts'],
    ['--te', '--tee'],
    ['--learning-rate', undefined],
    ['--x', undefined],
    ['', undefined],
    ['-'.repeat(5), undefined],
    ['a'.repeat(10_000), undefined],
  ];
  for (const [given, meant] of cases) t.equal(nearest(given, names), meant, given.slice(0, 30));
  t.end();
});

t.test('a message ends with it, or is left as it is', t => {
  t.equal(didYouMean('stdot', ['stdout', 'stderr']), '; did you mean stdout?');
  t.equal(didYouMean('both', ['stdout', 'stderr']), '');
  t.end();
});
