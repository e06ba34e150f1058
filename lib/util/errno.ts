/**
 * `EAGAIN` and its meaning for an errno, above 0. Loads node:util and node:os when it's called,
 * i.e. once something failed: start-up needn't pay for it.
 */
export function describeErrno(errno: number): { readonly code: string; readonly text: string } {
  const known = process.getBuiltinModule('node:util').getSystemErrorMap().get(-errno);
  if (known !== undefined) return { code: known[0], text: known[1] };

  const { constants } = process.getBuiltinModule('node:os');
  const code = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
  if (code === undefined) return { code: `errno ${errno}`, text: `errno ${errno}` };
  return { code, text: texts[code] ?? code };
}

/**
 * What libuv has no text for, since it never returns it.
 *
 * @source glibc 2.36, sysdeps/gnu/errlist.h, in libuv's lower case
 */
const texts: Readonly<Record<string, string>> = {
  EBADMSG: 'bad message',
  ECHILD: 'no child processes',
  EDEADLK: 'resource deadlock avoided',
  EDOM: 'numerical argument out of domain',
  EDQUOT: 'disk quota exceeded',
  EIDRM: 'identifier removed',
  EINPROGRESS: 'operation now in progress',
  EMULTIHOP: 'multihop attempted',
  ENETRESET: 'network dropped connection on reset',
  ENOEXEC: 'exec format error',
  ENOLCK: 'no locks available',
  ENOLINK: 'link has been severed',
  ENOMSG: 'no message of desired type',
  ENOSR: 'out of streams resources',
  ENOSTR: 'device not a stream',
  ESTALE: 'stale file handle',
  ETIME: 'timer expired',
};

/** `ENOENT` of an error that node:fs or the addon threw. */
export function codeOf(error: unknown): string | undefined {
  return (error as { code?: string } | undefined)?.code; // fs and addon errors have it
}
