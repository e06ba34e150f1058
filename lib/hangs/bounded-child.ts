const maxBytes = 4 * 1024 * 1024;

/** What a child of ours prints, or what it has printed when its time is over, or `stop` is aborted. */
export async function runBounded(
  file: string,
  args: readonly string[],
  boundMs: number,
  stop?: AbortSignal,
): Promise<string> {
  // Only now: it loads Node's sockets, and few runs hang.
  const { spawn } = await import('node:child_process');
  if (stop?.aborted) return '';
  return new Promise(resolve => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let text = '';
    const finish = (note: string): void => {
      clearTimeout(timer);
      stop?.removeEventListener('abort', onStop);
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
      resolve(text + note);
    };
    const kill = (note: string): void => {
      // Its whole group: a cat that is stuck ends when it can, and nobody waits for it.
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended this moment.
      }
      finish(note);
    };
    const onStop = (): void => kill('\n(not done: its process is left in peace)\n');
    const timer = setTimeout(() => kill(`\n(not done after ${Math.round(boundMs)} ms)\n`), boundMs);
    stop?.addEventListener('abort', onStop);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (more: string) => {
        if (text.length < maxBytes) text += more;
      });
    }
    child.on('error', error => finish(`\n(${error.message})\n`));
    child.on('close', () => finish(''));
  });
}
