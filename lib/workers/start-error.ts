import { launchError } from '../errors.js';
import type { NativeEvent, NativeStep } from '../native/events.js';
import type { NativeGroupPlan, NativePlan } from '../native/plan.js';
import { adviceFor, describeErrno } from '../util/errno.js';

/**
 * Why a group couldn't start, and what to do about it.
 *
 * @param firstLine of a file, cut where it's long; undefined if the file isn't there
 * @returns ERR_NO_PROGRAM or ERR_SPAWN
 */
export function startError(
  event: Extract<NativeEvent, { event: 'start-failed' }>,
  plan: NativeGroupPlan,
  firstLine: (path: string) => string | undefined,
): Error {
  const { step: where, errno, syscall, detail, index } = event;
  const { code, text } = describeErrno(errno);
  const cause = Object.assign(new Error(`${syscall}: ${code}`), { code, errno, syscall });
  if ((where === 'resolve' || where === 'exec') && code === 'ENOENT') {
    const program = detail === '' ? (plan.plans[index]?.file ?? '') : detail;
    const cwd = plan.plans[index]?.cwd;
    const path = program.startsWith('/') || cwd === undefined ? program : `${cwd}/${program}`;
    return launchError('ERR_NO_PROGRAM', [program, missingInterpreter(firstLine(path))], cause);
  }
  const why = reasonAt(where, code) ?? text + (adviceAt(where, code) ?? adviceOnSpawn(code));
  if (where === 'cgroup') return limitError(event, cause);
  const subject = subjectOf(where, plan.plans[index]) ?? detail;
  return launchError(
    'ERR_SPAWN',
    [index, subject === '' ? where : `${where} ${subject}`, why],
    cause,
  );
}

/**
 * What the kernel didn't find of a program that's there; empty where it isn't.
 *
 * @source execve(2), ENOENT: the interpreter of a script or of an ELF file
 */
function missingInterpreter(firstLine: string | undefined): string {
  if (firstLine === undefined) return '';
  const [, interpreter] = /^#!\s*([^ \t]*)/.exec(firstLine) ?? [];
  if (interpreter === undefined)
    return '; it is there, but the loader that it was built for is not';
  const why = `; it is there, but ${JSON.stringify(interpreter)}, which its first line names, is not`;
  return interpreter.endsWith('\r') ? `${why}: the file has Windows line endings` : why;
}

/** Why nobody waits for a start any more. */
export function startHangs({
  index,
  step,
  detail,
  pid,
}: Extract<NativeEvent, { event: 'start-hangs' }>): Error {
  const process = pid === 0 ? "the agent's own thread" : `process ${pid}, deaf to SIGKILL`;
  return launchError('ERR_START_HANGS', [
    index,
    detail === '' ? step : `${step} ${detail}`,
    process,
  ]);
}

/** `detail` is empty where no hierarchy has the controller that `syscall` names then. */
function limitError(
  { index, syscall, errno, detail }: Extract<NativeEvent, { event: 'start-failed' }>,
  cause: Error,
): Error {
  const { code, text } = describeErrno(errno);
  const [what, why] =
    detail === ''
      ? [`cgroup controller ${syscall}`, `there is none here; ${adviceForLimits(code)}`]
      : [`cgroup ${detail}`, `${text}; ${adviceForLimits(code)}`];
  return launchError('ERR_SPAWN', [index, what, why], cause);
}

function adviceForLimits(code: string): string {
  // Only version 1 says so, of memory.high.
  if (code === 'ENOTSUP') return 'cgroups of version 1 have no such limit: take --memory-max';
  const delegated =
    'in a cgroup of its own, such as `systemd-run --user --scope -p Delegate=yes regroup …` gives';
  const without = 'without --memory-max, --memory-high, --pids-max and --cpu-quota';
  const why = code === 'EBUSY' ? "others in that cgroup can't be moved: " : '';
  return `${why}start regroup as root, ${delegated}, or ${without}`;
}

/** What a step was about, where that isn't a path. */
function subjectOf(step: NativeStep, plan: NativePlan | undefined): string | undefined {
  switch (step) {
    case 'affinity':
      return `of CPUs ${plan?.cpus?.join(',')}`;
    case 'memory':
      return `${plan?.memoryPolicy?.mode} ${plan?.memoryPolicy?.nodes.join(',')}`.trimEnd();
    case 'nice':
      return `${plan?.nice}`;
    case 'ionice':
      return `class ${(plan?.ioPriority ?? 0) >> 13}, level ${(plan?.ioPriority ?? 0) & 7}`;
    case 'oom-score-adj':
      return `${plan?.oomScoreAdj}`;
    default:
      return undefined;
  }
}

/** What happened, where a step and its code say more than the code alone. */
function reasonAt(step: NativeStep, code: string): string | undefined {
  if (step === 'killed-before-exec')
    return 'it was killed before its program ran; the machine or its cgroup may be out of memory';
  if (step === 'output' && code === 'ETIMEDOUT')
    return 'it could not be opened within 30 s; its disk may not answer';
  return undefined;
}

/** Advice for a step that gives a code a meaning of its own. */
function adviceAt(step: NativeStep, code: string): string | undefined {
  switch (`${step} ${code}`) {
    case 'affinity EINVAL':
      return '; none of them is ours: Cpus_allowed_list in /proc/self/status has those that are';
    case 'memory EINVAL':
      return '; none of these nodes is ours: Mems_allowed_list in /proc/self/status has those that are';
    case 'memory EPERM':
      return "; the container's seccomp filter refuses set_mempolicy, unless it has CAP_SYS_NICE";
    case 'memory ENOSYS':
      return '; this kernel is built without NUMA';
    case 'rlimits EPERM':
      return '; only CAP_SYS_RESOURCE raises a hard limit: ask for less, or raise it for regroup itself (limits.conf, LimitNOFILE= of systemd, --ulimit of docker)';
    case 'rlimits EINVAL':
      return '; a soft limit must not be above the hard one: give both, as SOFT:HARD';
    case 'nice EACCES':
      return '; less than our own takes CAP_SYS_NICE or a higher limit `ulimit -e`';
    case 'ionice EPERM':
      return '; realtime takes CAP_SYS_NICE or CAP_SYS_ADMIN';
    case 'ionice ENOSYS':
      return '; this kernel has no disk priorities';
    case 'oom-score-adj EACCES':
      return '; less than our own takes CAP_SYS_RESOURCE';
    case 'oom-score-adj ENOENT':
      return '; /proc is not mounted here';
    default:
      return undefined;
  }
}

/** What a code means in any step. */
function adviceOnSpawn(code: string): string {
  switch (code) {
    case 'EACCES':
      return '; it must be executable, and every folder above it searchable';
    case 'ENOEXEC':
      return '; it is neither a program nor a script with #! in its first line';
    case 'E2BIG':
      return '; arguments and environment together are too large';
    default:
      return adviceFor(code);
  }
}
