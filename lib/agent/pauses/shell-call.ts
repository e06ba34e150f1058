import { bytesOf, hasBytes } from '../../util/bytes.js';

/** A script for /bin/sh, with its environment and working directory. */
export interface ShellCall {
  readonly script: string;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string | undefined;
}

/**
 * The same for a spawn that takes UTF-8 alone, as Node's does: what isn't UTF-8 is put into the script, which the shell
 * itself composes. Variables whose name isn't a shell's can't be, and are left away.
 */
export function inAscii({ script, env, cwd }: ShellCall): ShellCall {
  const isOdd = (text: string | undefined): text is string => text !== undefined && hasBytes(text);
  const odd = Object.entries(env).filter(([name, value]) => isOdd(name) || isOdd(value));
  if (odd.length === 0 && !isOdd(script) && !isOdd(cwd)) return { script, env, cwd };

  const exported = odd.filter(([name]) => /^[A-Za-z_]\w*$/.test(name));
  const lines = [
    ...(isOdd(cwd) ? [`cd ${quoted(cwd)} || exit`] : []),
    ...exported.map(([name, value]) => `export ${name}=${quoted(value ?? '')}`),
    script,
  ];
  const octal = Array.from(
    bytesOf(lines.join('\n')),
    byte => `\\0${byte.toString(8).padStart(3, '0')}`,
  );
  const names = new Set(odd.map(([name]) => name));
  return {
    script: `eval "$(printf %b '${octal.join('')}')"`,
    env: Object.fromEntries(Object.entries(env).filter(([name]) => !names.has(name))),
    cwd: isOdd(cwd) ? undefined : cwd,
  };
}

/** Quotes a text, so that a shell takes it for one word. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
