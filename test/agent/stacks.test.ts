import t from 'tap';
import { catches, foldRanks, mainFrame } from '../../lib/agent/stacks.js';

t.test('the place is the innermost frame of the main thread', t => {
  const pySpy = `Process 7: python train.py
Thread 9 (idle): "Thread-1"
    select (selectors.py:415)
Thread 7 (idle): "MainThread"
    wrapper (torch/distributed/c10d_logger.py:81)
    all_reduce (torch/distributed/distributed_c10d.py:2763)
    <module> (train.py:9)
`;
  const faulthandler = `Thread 0x1 (most recent call first):
  File "/lib/threading.py", line 355 in wait

Current thread 0x2 (most recent call first):
  File "/lib/loader.py", line 12 in __next__
  File "train.py", line 9 in <module>
`;
  t.equal(mainFrame(pySpy), 'all_reduce');
  t.equal(mainFrame(faulthandler), '__next__');
  t.equal(mainFrame('Error: Operation not permitted'), undefined);
  t.end();
});

t.test('ranks that wait in the same place are named together', t => {
  const at = (rank: number, where?: string) => ({ rank, where });
  t.equal(
    foldRanks([at(0, 'a'), at(1, 'a'), at(2), at(3, 'b'), at(4, 'a')]),
    'ranks 0-1, 4 in a, rank 3 in b, rank 2 unknown',
  );
  t.end();
});

t.test('a signal is caught if its bit of SigCgt is set', t => {
  const status = 'Name:\tpython3\nSigCgt:\t0000000000000200\n';
  t.equal(catches(status, 10), true);
  t.equal(catches(status, 12), false);
  t.equal(catches('', 10), false);
  t.end();
});
