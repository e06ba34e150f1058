import t from 'tap';
import { catches, foldRanks, mainPlace } from '../../lib/hangs/stacks.js';

t.test('the place is the innermost frame of the main thread, with its line', t => {
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
  const place = { name: 'all_reduce', at: 'distributed_c10d.py:2763', state: 'waits' };
  t.strictSame(mainPlace(pySpy), place);
  t.strictSame(mainPlace(faulthandler), { name: '__next__', at: 'loader.py:12' });
  t.equal(mainPlace('Error: Operation not permitted'), undefined);
  t.end();
});

t.test('Python’s own modules for waiting tell less than who called them', t => {
  const text = `Thread 7 (idle): "MainThread"
    wait (threading.py:327)
    get (queue.py:180)
    _poll (multiprocessing/connection.py:257)
    next_batch (train.py:29)
    <module> (train.py:40)
`;
  t.strictSame(mainPlace(text), { name: 'next_batch', at: 'train.py:29' });
  const alone = 'Thread 7 (idle): "MainThread"\n    wait (threading.py:327)\n';
  t.strictSame(mainPlace(alone), { name: 'wait', at: 'threading.py:327' }, 'but more than nothing');
  t.end();
});

t.test(
  'a rank waits in a collective, in all of PyTorch’s distributed package, and in DDP’s backward',
  t => {
    const at = (frame: string) => mainPlace(`Thread 7 (idle): "MainThread"\n    ${frame}\n`)?.state;
    t.equal(at('all_reduce (x.py:1)'), 'waits');
    t.equal(at('_store_based_barrier (torch/distributed/distributed_c10d.py:900)'), 'waits');
    t.equal(at('_engine_run_backward (torch/autograd/graph.py:824)'), 'waits');
    t.equal(at('_sync_module_states (torch/nn/parallel/distributed.py:1500)'), 'waits');
    t.equal(at('_write_item (torch/distributed/checkpoint/filesystem.py:300)'), undefined);
    t.equal(at('reduce_lr (train.py:3)'), undefined);
    t.equal(at('forward (my_torch/distributed_model.py:3)'), undefined);
    t.end();
  },
);

t.test('ranks that wait in the same place are named together', t => {
  const at = (rank: number, name?: string) => ({
    rank,
    place: name === undefined ? undefined : { name, at: 'x.py:1' },
  });
  t.equal(
    foldRanks([at(0, 'a'), at(1, 'a'), at(2), at(3, 'b'), at(4, 'a')]),
    'ranks 0-1, 4 in a (x.py:1), rank 3 in b (x.py:1), rank 2 unknown',
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
