import t from 'tap';
import { type LaunchOptions, withDefaults } from '../lib/options.js';

const minimal: LaunchOptions = { entrypoint: { script: 'train.py' } };

t.test('every option but the entrypoint has a default', t => {
  t.strictSame(withDefaults(minimal), {
    entrypoint: { script: 'train.py' },
    args: [],
    nprocPerNode: 1,
    maxRestarts: 0,
    failureRules: [],
    failFastMs: 0,
    noProgressRounds: 0,
    resetOnProgress: false,
    healthyAfterMs: 0,
    role: 'default',
    masterAddr: '127.0.0.1',
    masterPort: 0,
    stdin: 'inherit',
    redirects: 'none',
    tee: 'none',
    logLinePrefixTemplate: '[${role_name}${local_rank}]:',
    localRanksFilter: [],
    duplicateStdoutFilters: [],
    duplicateStderrFilters: [],
    shutdownTimeoutMs: 30_000,
    virtualLocalRank: false,
    passLocalRankArg: false,
    startMethod: 'spawn',
    preemptUrlIntervalMs: 5000,
    gpuWaitMs: 10_000,
    graceMs: {},
    gpuPerRank: false,
    agentStore: 'auto',
  });
  t.end();
});

t.test('an option that is undefined counts as absent', t => {
  // JavaScript callers pass them.
  const settings = withDefaults({ ...minimal, maxRestarts: undefined } as unknown as LaunchOptions);
  t.equal(settings.maxRestarts, 0);
  t.end();
});

t.test('L-018 what does not fit is refused, with the option, the value and what is accepted', t => {
  const cases: [string, unknown, string][] = [
    ['entrypoint', undefined, 'one of { script }'],
    ['entrypoint', {}, 'one of { script }'],
    ['entrypoint', { script: '' }, 'one of { script }'],
    ['entrypoint', { script: 'a', module: 'b' }, 'one of { script }'],
    ['args', 'x', 'a list of texts'],
    ['args', ['a\0b'], 'a list of texts'],
    ['args', [1], 'a list of texts'],
    ['failureRules', [{ action: 'fail' }], 'a list of { exitCodes?'],
    ['failureRules', [{ exitCodes: [256], action: 'fail' }], 'a list of { exitCodes?'],
    ['failureRules', [{ exitCodes: [[4, 3]], action: 'fail' }], 'a list of { exitCodes?'],
    ['failureRules', [{ signals: ['SIGNOT'], action: 'fail' }], 'a list of { exitCodes?'],
    ['failureRules', [{ pattern: '(', action: 'fail' }], 'a list of { exitCodes?'],
    ['restartWindow', { restarts: 0, perMs: 1 }, '{ restarts, perMs }'],
    ['backOff', { firstMs: 2, maxMs: 1 }, '{ firstMs, maxMs }'],
    ['noProgressRounds', -1, 'a whole number from 0'],
    ['placement', { mode: 'near' }, '{ mode?: node'],
    ['placement', { mode: 'node', cpus: { 0: '1' } }, '{ mode?: node'],
    ['placement', { cpus: { 0: '3-1' } }, '{ mode?: node'],
    ['placement', { nodes: 1 }, '{ mode?: node'],
    ['nprocPerNode', 0, 'a whole number from 1'],
    ['nprocPerNode', 1.5, 'a whole number from 1'],
    ['maxRestarts', -1, 'a whole number from 0'],
    ['runId', '', 'a text'],
    ['masterPort', 65_536, 'a port from 0 to 65535'],
    ['env', { 'A=B': 'c' }, 'names without ='],
    ['env', { A: 1 }, 'names without ='],
    ['stdin', 'pipe', "'inherit' or 'null'"],
    ['tee', 'all', "'none', 'stdout', 'stderr', 'both'"],
    ['redirects', { a: 'both' }, "'none', 'stdout', 'stderr', 'both'"],
    ['localRanksFilter', [-1], 'a list of local ranks'],
    ['shutdownTimeoutMs', -1, 'milliseconds from 0'],
    ['shutdownTimeoutMs', Number.NaN, 'milliseconds from 0'],
    ['shutdownTimeoutMs', Number.POSITIVE_INFINITY, 'milliseconds from 0'],
    ['signalTarget', 'all', "'leader' or 'group'"],
    ['graceMs', { failure: -1 }, 'milliseconds for failure, signal'],
    ['graceMs', { why: 1 }, 'milliseconds for failure, signal'],
    ['graceMs', 5, 'milliseconds for failure, signal'],
    ['hooks', { preStop: '' }, '{ preStart?, preStop?'],
    ['hooks', { before: 'true' }, '{ preStart?, preStop?'],
    ['hooks', { timeoutMs: -1 }, '{ preStart?, preStop?'],
    ['hooks', 'true', '{ preStart?, preStop?'],
    ['preemptSignal', 'USR1', 'the name of a signal'],
    ['preemptUrl', 'file:///etc', 'a URL of http or https'],
    ['preemptUrl', 'http://', 'a URL of http or https'],
    ['gpuWaitMs', -1, 'milliseconds from 0'],
    ['agentStore', true, "'auto' or 'on' or 'off'"],
    ['preemptLimitMs', -1, 'milliseconds from 0'],
    ['rlimits', { nofiles: 1 }, "'unlimited' or { soft, hard } for some of as, core"],
    ['rlimits', { nofile: -1 }, 'whole numbers from 0'],
    ['rlimits', { nofile: {} }, 'whole numbers from 0'],
    ['rlimits', { nofile: { soft: 2, hard: 1 } }, 'no soft limit above its hard one'],
    ['rlimits', { core: { soft: 'unlimited', hard: 1 } }, 'no soft limit above its hard one'],
    ['rlimits', { core: { max: 1 } }, 'whole numbers from 0'],
    ['nice', 20, 'a whole number from -20 to 19'],
    ['nice', '5', 'a whole number from -20 to 19'],
    ['ionice', 'idle', "{ class: 'idle' }"],
    ['ionice', { class: 'idle', level: 1 }, "{ class: 'idle' }"],
    ['ionice', { class: 'realtime', level: 8 }, 'level: 0 to 7'],
    ['oomScoreAdj', -1001, 'a whole number from -1000 to 1000'],
    ['umask', 0o1000, 'a whole number from 0 to 0o777'],
    ['memoryMax', 2 ** 20 - 1, 'a whole number of bytes from 1048576 (1 MiB)'],
    ['memoryHigh', '64G', 'a whole number of bytes'],
    ['pidsMax', 0, 'a whole number from 1'],
    ['cpuQuota', 0, 'a number of CPUs from 0.01'],
    ['cpuQuota', Number.NaN, 'a number of CPUs from 0.01'],
    ['virtualLocalRank', 1, 'true or false'],
    ['signal', {}, 'an AbortSignal'],
    ['nproc', 2, 'one of entrypoint, args, nprocPerNode'],
  ];
  for (const [option, value, accepted] of cases) {
    let message = '';
    try {
      withDefaults({ ...minimal, [option]: value } as LaunchOptions);
    } catch (error) {
      t.match(error, { code: 'ERR_OPTION' });
      message = (error as Error).message;
    }
    t.ok(message.startsWith(`${option}: `), message);
    t.ok(message.includes(accepted), message);
  }
  t.end();
});
