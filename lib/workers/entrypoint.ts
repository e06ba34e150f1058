import { launchError } from '../errors.js';
import type { Entrypoint } from '../options/launch-options.js';
import { safeSubstitute } from '../util/template.js';
import type { Python } from './python.js';

/** What the workers of a node run; the same for all but for the local rank in their arguments. */
export interface Command {
  /** A path, or a name for PATH: argv[0] too. */
  readonly file: string;
  /** argv[1…], before `${local_rank}` is replaced. */
  readonly args: readonly string[];
  /** Where `--local-rank=<n>` goes, as an index of `args`; absent where it isn't wanted. */
  readonly localRankArgAt?: number;
  /** What failed, for the report's title. */
  readonly name: string;
  /** A function entrypoint, as torchrun's report tells them apart. */
  readonly isFunction: boolean;
}

/**
 * The command of an entrypoint.
 *
 * @param python absent for programs
 * @param shim the path of run_path.py, asked for only by `runPath`
 * @source pytorch v2.13.0, torch/distributed/run.py, config_from_args
 */
export function commandOf(
  entrypoint: Entrypoint,
  options: {
    readonly args: readonly string[];
    readonly python: Python | undefined;
    readonly passLocalRankArg: boolean;
    readonly shim: () => string;
  },
): Command {
  if ('program' in entrypoint) {
    return command(entrypoint.program, [], options, { name: entrypoint.program });
  }

  const { python } = options;
  if (python === undefined) throw launchError('ERR_NO_PYTHON', []);
  if ('module' in entrypoint) {
    return command(python.path, ['-u', '-m', entrypoint.module], options, {
      name: reportName(python, entrypoint.module),
    });
  }
  if ('script' in entrypoint) {
    return command(python.path, ['-u', entrypoint.script], options, {
      name: reportName(python, entrypoint.script),
    });
  }
  // torchrun's own function has this name, and log scrapers know it.
  return command(python.path, ['-u', options.shim(), entrypoint.runPath], options, {
    name: 'run_script_path',
    isFunction: true,
  });
}

function command(
  file: string,
  head: readonly string[],
  options: { readonly args: readonly string[]; readonly passLocalRankArg: boolean },
  { name, isFunction = false }: { readonly name: string; readonly isFunction?: boolean },
): Command {
  return {
    file,
    args: [...head, ...options.args],
    ...(options.passLocalRankArg ? { localRankArgAt: head.length } : {}),
    name,
    isFunction,
  };
}

/** The script or module if the command is the interpreter that we'd take anyway, else the command. */
function reportName(python: Python, script: string): string {
  if (!python.isInterpreter) return python.path;
  // As torchrun, which looks for the first argument that doesn't begin with a dash.
  return script.startsWith('-') ? '' : script;
}

/** argv of one worker, argv[0] included: `${local_rank}` and `$local_rank` are its number. */
export function argvOf(command: Command, localRank: number): string[] {
  const values = { local_rank: String(localRank) };
  const argv = [command.file, ...command.args.map(arg => safeSubstitute(arg, values))];
  if (command.localRankArgAt !== undefined) {
    argv.splice(command.localRankArgAt + 1, 0, `--local-rank=${localRank}`);
  }
  return argv;
}
