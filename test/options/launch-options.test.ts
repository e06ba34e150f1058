import t from 'tap';
import { type LaunchOptions, withDefaults } from '../../lib/options/launch-options.js';

const minimal: LaunchOptions = { entrypoint: { script: 'train.py' } };

t.test('every option but the entrypoint has a default', t => {
  t.strictSame(withDefaults(minimal), {
    entrypoint: { script: 'train.py' },
    args: [],
    nprocPerNode: 1,
    maxRestarts: 0,
    control: 'off',
    eventLogHandler: 'null',
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
    logLinePrefixTemplate: '[${role_name}${rank}]:',
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
    minNodes: 1,
    maxNodes: 1,
    nodesPerUnit: 1,
    nodesSet: [],
    groupSize: 1,
    strikes: { failures: 3, perMs: 600_000 },
    rdzvBackend: 'c10d',
    lastCallMs: 30_000,
    joinTimeoutMs: 600_000,
    leaseMs: 5000,
    agentStallMs: 60_000,
    growDebounceMs: 2000,
    returnGraceMs: 100,
    gpuPerRank: false,
    agentStore: 'auto',
    tidyGraceMs: 500,
    leaveDetached: false,
    standby: 'off',
    standbyAfterMs: 30_000,
    prestart: false,
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
    ['placement', { mode: 'near' }, "mode: \"near\" is not accepted; give 'node' or 'socket'"],
    ['placement', { mode: 'node', cpus: { 0: '1' } }, '{ mode?: node'],
    ['placement', { cpus: { 0: '3-1' } }, 'cpus: an object is not accepted; give CPU lists'],
    ['placement', { nodes: 1 }, '{ mode?: node'],
    ['nprocPerNode', 0, 'a whole number from 1'],
    ['nprocPerNode', 1.5, 'a whole number from 1'],
    ['maxRestarts', -1, 'a whole number from 0'],
    ['runId', '', 'a text'],
    ['masterPort', 65_536, 'a port from 0 to 65535'],
    ['env', { 'A=B': 'c' }, 'names without ='],
    ['env', { A: 1 }, 'A is 1 (a number); give texts without NUL'],
    ['stdin', 'inhreit', "'inherit' or 'null'; did you mean inherit?"],
    ['control', 'yes', "'on' or 'auto' or 'off'"],
    ['healthPort', 70_000, 'a port from 0 to 65535'],
    ['fileTimers', { pth: 'x' }, 'it has no field "pth"; did you mean path?'],
    ['hang', { silenseMs: 1 }, 'it has no field "silenseMs"; did you mean silenceMs?'],
    ['hang', { dumpSignal: 'SIGNOT' }, 'dumpSignal: "SIGNOT" is not accepted'],
    ['stdin', 'pipe', "'inherit' or 'null'"],
    ['tee', 'all', "'none', 'stdout', 'stderr', 'both'"],
    ['redirects', { a: 'both' }, "'none', 'stdout', 'stderr', 'both'"],
    ['localRanksFilter', [-1], 'a list of local ranks'],
    ['shutdownTimeoutMs', -1, 'milliseconds from 0'],
    ['shutdownTimeoutMs', Number.NaN, 'milliseconds from 0'],
    ['shutdownTimeoutMs', Number.POSITIVE_INFINITY, 'milliseconds from 0'],
    ['signalTarget', 'all', "'leader' or 'group'"],
    ['graceMs', { failure: -1 }, 'failure: -1 is not accepted; give milliseconds from 0'],
    ['graceMs', { why: 1 }, 'milliseconds for failure, signal'],
    ['graceMs', 5, 'milliseconds for failure, signal'],
    ['hooks', { preStop: '' }, 'preStop: a text is not accepted; give a text that has no NUL'],
    ['hooks', { before: 'true' }, '{ preStart?, preStop?'],
    ['hooks', { timeoutMs: -1 }, 'timeoutMs: -1 is not accepted'],
    ['hooks', { preStrat: 'true' }, 'it has no field "preStrat"; did you mean preStart?'],
    ['hooks', 'true', '{ preStart?, preStop?'],
    ['preemptSignal', 'USR1', 'the name of a signal, like SIGUSR1; did you mean SIGUSR1?'],
    ['preemptUrl', 'file:///etc', 'a URL of http or https'],
    ['preemptUrl', 'http://', 'a URL of http or https'],
    ['gpuWaitMs', -1, 'milliseconds from 0'],
    ['agentStore', true, "'auto' or 'on' or 'off'"],
    ['preemptLimitMs', -1, 'milliseconds from 0'],
    ['tidyGraceMs', -1, 'milliseconds from 0'],
    ['standby', 'on', "'off' or 'auto'"],
    ['standbyModules', ['torch; import os'], 'names of Python modules'],
    ['standbyAfterMs', -1, 'milliseconds from 0'],
    ['prestart', 'yes', 'true or false'],
    ['leaveDetached', 'yes', 'true or false'],
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
    ['nproc', 2, 'there is no such option; did you mean nprocPerNode?'],
    ['zzz', 2, 'there is no such option; LaunchOptions has them all'],
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

t.test('a first round with standbys is one with standbys', t => {
  t.match(withDefaults({ ...minimal, prestart: true }), { standby: 'auto', prestart: true });
  t.match(withDefaults(minimal), { standby: 'off' });
  t.throws(() => withDefaults({ ...minimal, standby: 'off', prestart: true }), {
    code: 'ERR_OPTION',
    message: "prestart: standby is 'off'; give 'auto', or leave it out",
  });
  t.end();
});

function refusal(options: unknown): { code?: string; message: string } {
  try {
    withDefaults(options as LaunchOptions); // what a caller in JavaScript may pass
  } catch (error) {
    return error as { code?: string; message: string };
  }
  throw new Error('it is accepted');
}

t.test('F-U8: options that are no object are refused as such', t => {
  for (const [options, what] of [
    [undefined, 'undefined'],
    [null, 'null'],
    ['train.py', '"train.py"'],
    [[minimal], 'a list'],
    [() => minimal, 'a function'],
  ]) {
    t.match(refusal(options), {
      code: 'ERR_OPTION',
      message: `options: ${what} is not accepted; give an object, like { entrypoint: { script: 'train.py' } }`,
    });
  }
  t.end();
});

t.test('F-F08: no value of the environment is in a message, nor of what may be a secret', t => {
  const secret = 'hf_s3cret';
  const cases: [name: string, value: unknown, problem: string][] = [
    ['env', { TOKEN: secret, PORT: 8080 }, 'PORT is 8080 (a number); give texts without NUL'],
    ['env', { A: secret, DB_PASSWORD: 8080 }, 'DB_PASSWORD is a number; give texts without NUL'],
    ['env', { TOKEN: `${secret}\0` }, 'TOKEN is a text with NUL; give texts without NUL'],
    ['env', { TOKEN: { text: secret } }, 'TOKEN is an object; give texts without NUL'],
    ['env', { 'A=B': secret }, '"A=B" is no name of a variable; give names without ='],
    ['env', `TOKEN=${secret}`, 'a text is not accepted; give an object of names without ='],
    ['args', `--token=${secret}`, 'a text is not accepted; give a list of texts without NUL'],
    ['args', ['--token', secret, 1n], 'its entry 2 is a bigint; give a list of texts'],
    ['hooks', { preStart: `${secret}\0` }, 'preStart: a text with NUL is not accepted'],
    ['preemptUrl', `ftp://me:${secret}@host/`, 'a text is not accepted; give a URL of http'],
    ['cwd', { TOKEN: secret }, 'an object is not accepted; give a text'],
    ['entrypoint', { command: secret }, 'an object is not accepted; give one of { script }'],
    ['environment', { TOKEN: secret }, 'there is no such option'],
  ];
  for (const [name, value, problem] of cases) {
    const { code, message } = refusal({ ...minimal, [name]: value });
    t.equal(code, 'ERR_OPTION');
    t.ok(message.startsWith(`${name}: ${problem}`), message);
    t.notMatch(message, secret);
  }
  t.end();
});

t.test('F-F08: whatever is given for an option, the error is one of options', t => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  const names = [...Object.keys(withDefaults(minimal)), 'env', 'hang', 'hooks', 'placement', 'cwd'];
  for (const value of [1n, circle, Symbol('x'), () => 1, [1n], { a: 1n }]) {
    for (const name of names) {
      const { code, message } = refusal({ ...minimal, [name]: value });
      t.equal(code, 'ERR_OPTION', `${name}: ${message}`);
      t.ok(message.length < 400 && !message.includes('\n'), message);
    }
  }
  t.end();
});
