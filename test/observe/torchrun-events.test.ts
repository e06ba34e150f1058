import t from 'tap';
import type { AgentEvent, RunResult, WorkerFailure } from '../../lib/events.js';
import { torchrunEvents } from '../../lib/observe/torchrun/events.js';
import { pythonJson } from '../../lib/observe/torchrun/python-json.js';

const job = {
  runId: 'J',
  role: 'trainer',
  hostname: 'host.example',
  backend: 'c10d',
  entryPoint: 'python3',
  pid: 7,
};

function started(round: number, restartCount = round): AgentEvent {
  return {
    event: 'round-started',
    round,
    restartCount,
    masterAddr: '127.0.0.1',
    masterPort: 1,
    groupRank: 1,
    groupWorldSize: 2,
    worldSize: 4,
    workers: [2, 3].map(rank => ({ rank, localRank: rank - 2, pid: 100 * (round + 1) + rank })),
    rendezvousMs: 12.5,
    atMs: 0,
  };
}

function failure(rank: number, more: Partial<WorkerFailure> = {}): WorkerFailure {
  return {
    rank,
    localRank: rank - 2,
    pid: 100 + rank,
    exit: { how: 'exited', code: 3 },
    exitcode: 3,
    cause: 'own',
    duringStop: false,
    durationMs: 1,
    message: '',
    traceback: '',
    timestamp: 0,
    host: 'host.example',
    ...more,
  };
}

function failed(...failures: readonly WorkerFailure[]): RunResult {
  const [rootCause] = failures;
  if (rootCause === undefined) throw new Error('a failure');
  return { outcome: 'failed', rootCause, failures, because: 'no-restarts-left' };
}

/** `SOURCE STATE rank` of each line, and what was asked for of its metadata. */
function brief(lines: readonly string[], ...fields: readonly string[]): string[] {
  return lines.map(line => {
    const { source, metadata } = JSON.parse(line) as { source: string; metadata: Metadata };
    const inner = JSON.parse(metadata.metadata as string) as Metadata;
    const more = fields.map(name => `${name}=${JSON.stringify({ ...metadata, ...inner }[name])}`);
    return [source, metadata.state, metadata.global_rank ?? '-', ...more].join(' ');
  });
}

type Metadata = Readonly<Record<string, unknown>>;

t.test('L-095: a round is told as it comes about, and then each worker', async t => {
  const told = torchrunEvents(job);

  t.strictSame(brief(told.onEvent(started(0)), 'group_rank', 'duration_ms', 'agent_restarts'), [
    'AGENT RENDEZVOUS - group_rank=null duration_ms=12.5 agent_restarts=0',
    'AGENT ASSIGN_WORKER_RANKS - group_rank=null duration_ms=0 agent_restarts=0',
    'WORKER START 2 group_rank=1 duration_ms=null agent_restarts=0',
    'WORKER START 3 group_rank=1 duration_ms=null agent_restarts=0',
  ]);
  // Of the next one's rendezvous they tell where the node was before.
  t.strictSame(brief(told.onEvent(started(1)).slice(0, 3), 'group_rank', 'agent_restarts'), [
    'AGENT RENDEZVOUS - group_rank=1 agent_restarts=1',
    'AGENT ASSIGN_WORKER_RANKS - group_rank=1 agent_restarts=1',
    'WORKER START 2 group_rank=1 agent_restarts=1',
  ]);
});

t.test('L-093: a line is the one that Python would have written', async t => {
  const told = torchrunEvents(job);
  told.onEvent(started(0));

  const [line] = told.onEnd({ result: { outcome: 'succeeded' } }, 2999, new Map());

  t.equal(
    line,
    '{"name": "torchelastic.worker.status.SUCCEEDED", "source": "WORKER", "timestamp": 0, "metadata": ' +
      '{"run_id": "J", "global_rank": 2, "group_rank": 1, "worker_id": "102", "role": "trainer", ' +
      '"hostname": "host.example", "state": "SUCCEEDED", "total_run_time": 2, "rdzv_backend": "c10d", ' +
      '"raw_error": null, "metadata": "{\\"group_world_size\\": 2, \\"entry_point\\": \\"python3\\", ' +
      '\\"local_rank\\": [0], \\"role_rank\\": [2], \\"role_world_size\\": [4], \\"exit_code\\": [null], ' +
      '\\"worker_pid\\": [null]}", "agent_restarts": 0, "duration_ms": null}}',
  );
});

t.test('L-094: the agent has succeeded even where workers failed', async t => {
  const told = torchrunEvents(job);
  told.onEvent(started(0));
  const elsewhere = failure(0, { node: 'other (10.0.0.2)' });

  const lines = told.onEnd({ result: failed(failure(3), elsewhere) }, 0, new Map());

  t.strictSame(brief(lines, 'exit_code', 'worker_pid', 'raw_error'), [
    'WORKER TERMINATED 2 exit_code=[null] worker_pid=[null] raw_error=null',
    'WORKER FAILED 3 exit_code=[3] worker_pid=[103] raw_error=' +
      '"{\\"message\\": \\"<NONE>\\", \\"errorTraits\\": {\\"category\\": \\"system_terminated_error\\", \\"retryability\\": \\"False\\"}}"',
    'AGENT SUCCEEDED - exit_code=undefined worker_pid=undefined raw_error=null',
  ]);
});

t.test('L-093: what is told of a death without an error file depends on the others', async t => {
  const signal = { exit: { how: 'unknown' }, exitcode: -9 } as const;
  const rawErrors = (...failures: readonly WorkerFailure[]): unknown[] => {
    const told = torchrunEvents(job);
    told.onEvent(started(0));
    const texts = new Map([[3, '{"message":"ü","n":[1,{}]}']]);
    const lines = told.onEnd({ result: failed(...failures) }, 0, texts);
    return lines.slice(0, 2).map(line => JSON.parse(line).metadata.raw_error);
  };
  const bare = '{"message": "<NONE>"}';

  t.strictSame(rawErrors(failure(2, signal), failure(3, { errorFile: '/e' })), [
    bare,
    '{"message": "\\u00fc", "n": [1, {}]}',
  ]);
  // One object stands for all, and an exit code marks it.
  t.match(rawErrors(failure(2, signal), failure(3)), [/system_terminated/, /system_terminated/]);
});

t.test('L-093: what ends the agent is told as its failure', async t => {
  const told = torchrunEvents(job);
  told.onEvent(started(0));

  const stopped = { outcome: 'stopped', by: 'signal', signal: 'SIGTERM' } as const;
  t.strictSame(brief(told.onEnd({ result: stopped }, 0, new Map()), 'raw_error'), [
    'AGENT FAILED - raw_error="torch.distributed.elastic.multiprocessing.api.SignalException: Process 7 got signal: 15\\n"',
  ]);
  t.strictSame(brief(told.onEnd({ error: new TypeError('x') }, 0, new Map()), 'raw_error'), [
    'AGENT FAILED - raw_error="TypeError: x\\n"',
  ]);
  // Anything can be thrown.
  for (const error of [undefined, null, 'x'])
    t.strictSame(brief(told.onEnd({ error }, 0, new Map()), 'raw_error'), [
      `AGENT FAILED - raw_error="Error: ${error}\\n"`,
    ]);
});

t.test("JSON is as Python's json.dumps has it", async t => {
  t.equal(
    pythonJson({ a: [1, 2.5, true, null], ü: '\u007f🙂"\\\n' }),
    '{"a": [1, 2.5, true, null], "\\u00fc": "\\u007f\\ud83d\\ude42\\"\\\\\\n"}',
  );
  t.equal(pythonJson({ ms: 3, n: 3 }, ['ms']), '{"ms": 3.0, "n": 3}');
  t.equal(pythonJson([{}, []]), '[{}, []]');
});
