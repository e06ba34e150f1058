import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { launchError } from '../../errors.js';
import type { LaunchOptions } from '../../options/launch-options.js';
import { here } from '../../options/scheduler/surroundings.js';
import { exitNow, type HeldSeat, holdSeatFor, type Order } from '../../own-process.js';
import { parseCommand } from '../line/args.js';
import { logLevels } from '../line/settings.js';
import type { Env } from '../options/spec.js';
import { createWords } from '../process/console.js';
import { createPrinter } from '../text/print.js';

/** Names the cookie of the agent that has started us. */
const cookieName = 'REGROUP_GUARDS';

/**
 * `regroup rendezvous-agent OPTIONS`, which python/regroup/rendezvous.py starts: it takes part in a job's rendezvous for an
 * agent of torchrun. Orders come at stdin and what's heard goes to stdout, each a line of JSON; words for people go to stderr.
 * It ends with its stdin: as ordered, or by SIGKILL where that came without a word, so that its guardian kills what the agent has left.
 */
export async function runRendezvousAgent(argv: readonly string[], env: Env): Promise<void> {
  const words = createWords();
  const printer = createPrinter({
    logLevel: logLevels.WARNING,
    role: 'default',
    maxRestarts: 0,
    hasPolicy: true,
    ompIsUnset: false,
    pid: process.pid,
    logFiles: () => undefined,
    logsInTemp: true,
    write: text => words.say(2, text),
    now: () => new Date(),
  });
  try {
    await serve(
      await holdSeatFor(optionsOf(argv, env), {
        cookie: env[cookieName] ?? '',
        hear,
        tell: event => printer.event(event),
      }),
    );
  } catch (error) {
    hear({ event: 'over', how: 'lost', why: error instanceof Error ? error.message : `${error}` });
    process.exitCode = 1;
  }
  await words.written();
  exitNow(Number(process.exitCode ?? 0));
}

function hear(heard: object): void {
  try {
    writeSync(1, `${JSON.stringify(heard)}\n`);
  } catch {
    // The agent is gone, as its end of our stdin tells.
  }
}

/** Does as it's ordered until the place is given up. */
function serve(seat: HeldSeat): Promise<void> {
  let isLast = false;
  createInterface({ input: process.stdin })
    .on('line', line => {
      const order = JSON.parse(line) as Order; // our own Python has written it
      isLast ||= order.do === 'end' || order.do === 'leave';
      seat.order(order);
    })
    .on('close', () => {
      if (!isLast) seat.avenge();
    });
  return seat.ended;
}

/** @throws ERR_OPTION */
function optionsOf(argv: readonly string[], env: Env): LaunchOptions {
  const parsed = parseCommand('regroup', [...argv, '--no-python', 'true'], env, here);
  switch (parsed.do) {
    case 'run':
    case 'dry-run':
      return parsed.options;
    case 'error':
      throw launchError('ERR_RENDEZVOUS', [parsed.text.split('\n').at(-1) ?? '']);
    default:
      throw launchError('ERR_RENDEZVOUS', ['rendezvous-agent takes the options of a job']);
  }
}
