import { fstatSync } from 'node:fs';
import { isIP } from 'node:net';
import { parseArgs } from 'node:util';
import { RegroupError } from '../../errors.js';
import { everyHost, numericHosts, ownAddresses } from '../../store/master-hosts.js';
import { adoptTable, createStore, openTable } from '../../store/open-table.js';
import { addressOf, isLoopback } from '../../util/address.js';
import { maxTimerMs } from '../../util/duration.js';
import { disabledFeatures } from '../../util/features.js';
import { didYouMean } from '../../util/nearest.js';
import { unreachable } from '../../util/unreachable.js';
import type { Env } from '../options/spec.js';
import { answer, createWords } from '../process/console.js';
import { takeStart } from '../process/start.js';
import { tokenGiven } from '../process/token.js';
import { packageVersion } from '../process/version.js';
import { describeReach } from '../text/describe.js';

const help = `usage: regroup-store [--host HOST | --listen-fd N] [--port PORT] [--shared-memory]
                     [--token-file PATH]

Serves a TCPStore, as torch.distributed.TCPStore(is_master=True) does, to PyTorch 1.13 and any later
release at once, and coordination to regroup's agents at the same port. Prints "ready HOST:PORT"
once it listens.

  --host HOST  address or name to serve at. localhost and 127.0.0.1 serve both loopback addresses,
               another name every address of this machine (default: every address)
  --port PORT  0 takes a free one (default: 0)
  --listen-fd N
               serve at this descriptor, a bound TCP socket, instead of --host; with --port, only if
               that's its port
  --shared-memory
               also serve this user's processes through shared memory: "ready HOST:PORT @NAME"
  --token-file PATH
               file with the secret of the job whose agents meet here, 16 characters at least; else
               REGROUP_TOKEN has it. Without one whoever reaches the port may be one of them. The
               store itself has no such thing, as PyTorch's clients know of none
  --help       print this and exit
  --version    print the version and exit

Ends with 0 on SIGTERM or SIGINT, or when the pipe at its stdin closes. A stdin that isn't a pipe or
a socket, such as a terminal or /dev/null, has no say. Exit code 1 if it can't serve, 2 for a
wrong command line.
`;

/** The whole command. Whoever reaches the port can read and write the store: only coordination has a token. */
export function runStoreCommand(): void | Promise<void> {
  const { args, env, ignored } = takeStart('regroup-store');
  const parsed = parse(args, env);
  switch (parsed.do) {
    case 'print':
      return answer(1, parsed.text);
    case 'refuse':
      process.exitCode = 2;
      return answer(2, `regroup-store: error: ${parsed.why}\n`);
    case 'serve':
      return serve(parsed, ignored);
    default:
      return unreachable(parsed);
  }
}

interface Serve {
  readonly do: 'serve';
  readonly host: string;
  readonly port: number;
  readonly listenFd?: number;
  readonly sharedMemory: boolean;
  readonly token?: string;
}

type Parsed =
  | Serve
  | { readonly do: 'print'; readonly text: string }
  | { readonly do: 'refuse'; readonly why: string };

/** A name like any other that isn't an address. */
const everyAddress = '*';

const options = {
  host: { type: 'string', default: everyAddress },
  port: { type: 'string', default: '0' },
  'listen-fd': { type: 'string' },
  'shared-memory': { type: 'boolean', default: false },
  'token-file': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const;

function parse(args: readonly string[], env: Env): Parsed {
  try {
    const { values } = parseArgs({
      args: [...args],
      options,
    });
    if (values.help) return { do: 'print', text: help };
    if (values.version) return { do: 'print', text: `regroup-store ${packageVersion()}\n` };
    const port = Number(values.port);
    if (!/^\d+$/.test(values.port) || port > 65_535) {
      return { do: 'refuse', why: `--port: '${values.port}' is not a port; give 0 to 65535` };
    }
    if (values.host === '') return { do: 'refuse', why: '--host: give an address or a name' };
    const given = values['listen-fd'];
    if (given !== undefined && !/^\d{1,9}$/.test(given)) {
      return { do: 'refuse', why: `--listen-fd: '${given}' is not a descriptor; give its number` };
    }
    const listenFd = given === undefined ? {} : { listenFd: Number(given) };
    const sharedMemory = values['shared-memory'];
    const found = tokenGiven(values['token-file'], '--token-file', env);
    if (!('token' in found)) {
      return { do: 'refuse', why: `${found.from}: ${found.why}; give ${found.accepted}` };
    }
    const token = found.token === undefined ? {} : { token: found.token };
    return { do: 'serve', host: values.host, port, ...listenFd, sharedMemory, ...token };
  } catch (error) {
    // parseArgs throws TypeErrors for people; some end with advice in further sentences.
    const why = (error as Error).message.split('\n')[0] ?? '';
    const unknown = /^Unknown option '(--[^']*)'$/.exec(why)?.[1] ?? '';
    const names = Object.keys(options).map(name => `--${name}`);
    return { do: 'refuse', why: `${why}${didYouMean(unknown, names)}` };
  }
}

/** Descriptors that no client gets: this process needs none after its start, but Node may. */
const keptDescriptors = 16;

/** @param ignored signals that have no say */
function serve(
  { host, port, listenFd, sharedMemory, token }: Serve,
  ignored: readonly NodeJS.Signals[],
): void {
  const words = createWords();
  try {
    const disable = disabledFeatures();
    const store = createStore({ disable, sharedMemory, keptDescriptors }, report => {
      if (report.report === 'line') words.say(2, `regroup-store: ${report.line}\n`);
    });
    // The store's thread doesn't keep Node alive; this does.
    setInterval(() => {}, maxTimerMs);
    function end(): void {
      store.close();
      words.writtenNow();
      process.exit(0);
    }

    for (const signal of ['SIGTERM', 'SIGINT'] as const)
      if (!ignored.includes(signal)) process.on(signal, end);
    // A name may mean any address of this machine.
    const hosts = numericHosts(host) ?? everyHost;
    const serves = { coordination: true, ...(token === undefined ? {} : { token }) };
    const table =
      listenFd === undefined
        ? openTable(store, hosts, host, port, serves)
        : adoptTable(store, listenFd, port, serves);
    const at = table.host ?? host;
    if (token === undefined && !isLoopback(at))
      words.say(2, `regroup-store: ${openWords(at, table.port)}\n`);
    const shown = at === everyAddress ? '0.0.0.0' : at;
    const local = table.local === undefined ? '' : ` ${table.local}`;
    words.say(1, `ready ${addressOf(shown, table.port)}${local}\n`);
    endWithStdin(end);
  } catch (error) {
    const what = error instanceof RegroupError ? error.message : String(error).split('\n')[0];
    words.say(2, `regroup-store: error: ${what}\n`);
    words.writtenNow();
    // The addon's cleanup hook ends the store's thread.
    process.exit(1);
  }
}

/** @param at the one address that's served, or what means every one */
function openWords(at: string, port: number): string {
  const addresses = isIP(at) === 0 || at === '0.0.0.0' || at === '::' ? ownAddresses() : [at];
  return `${describeReach(addresses, port)} can use the store, and take part in jobs that meet here, or end them; REGROUP_TOKEN or --token-file keeps others out of these`;
}

/** A pipe or socket that nobody holds any more tells that whoever started us is gone. */
function endWithStdin(end: () => void): void {
  const stdin = fstatSync(0);
  if (!stdin.isFIFO() && !stdin.isSocket()) return;
  process.stdin.on('end', end).on('error', end).resume();
}
