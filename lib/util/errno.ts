/**
 * `EAGAIN` and its meaning for an errno. Loads node:util when it's called, i.e. once something
 * failed: start-up needn't pay for it.
 */
export function describeErrno(errno: number): { readonly code: string; readonly text: string } {
  const map = process.getBuiltinModule('node:util').getSystemErrorMap();
  const [code, text] = map.get(-errno) ?? [`errno ${errno}`, `errno ${errno}`];
  return { code, text };
}
