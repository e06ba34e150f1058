import { isModuleName } from '../../options/standby.js';
import { acceptedDuration, parseDuration } from '../../util/duration.js';
import type { Feature } from './spec.js';

const common = { env: false, origin: 'regroup', group: 'failures' } as const;

export const standby: Feature = {
  options: [
    {
      ...common,
      names: ['--standby'],
      dest: 'standby',
      takes: 'text',
      metavar: 'off|auto',
      help: 'auto: keep an interpreter for each worker waiting, with its imports done, for the next restart. Where that is not safe, a restart is as without, and a line says why. Default: off, with --prestart auto.',
    },
    {
      ...common,
      names: ['--standby-modules'],
      dest: 'standby_modules',
      takes: 'text',
      metavar: 'NAME,…',
      help: 'What these import, in this order; nothing of your own, since that may change between restarts. Default: what the script was seen to import.',
    },
    {
      ...common,
      names: ['--standby-after'],
      dest: 'standby_after',
      takes: 'text',
      metavar: 'TIME',
      help: 'When to start these, from the start of a round. Default: 30s.',
    },
    {
      ...common,
      names: ['--prestart'],
      dest: 'prestart',
      takes: 'flag',
      help: 'Have the first round start from such interpreters, too: they import while other nodes are awaited, or while --pre-start runs. What they import must be known by --standby-modules or from an earlier run.',
    },
  ],
  read(values) {
    const which = values.text('standby');
    const modules = values.text('standby_modules')?.split(',');
    const after = values.text('standby_after');
    const standbyAfterMs = after === undefined ? undefined : parseDuration(after);
    if (which !== undefined && which !== 'auto' && which !== 'off')
      values.refuse('standby', whyNot(which), 'off or auto');
    if (values.flag('prestart') && which === 'off')
      values.refuse(
        'standby',
        'leaves --prestart without interpreters',
        'auto, or none of the two',
      );
    if (modules !== undefined && !modules.every(isModuleName))
      values.refuse(
        'standby_modules',
        "isn't a list of modules",
        'names like torch,torch.distributed',
      );
    if (after !== undefined && standbyAfterMs === undefined)
      values.refuse('standby_after', "isn't a time", acceptedDuration);
    return {
      ...(which === 'auto' || which === 'off' ? { standby: which } : {}),
      ...(modules === undefined ? {} : { standbyModules: modules }),
      ...(standbyAfterMs === undefined ? {} : { standbyAfterMs }),
      ...(values.flag('prestart') ? { prestart: true } : {}),
    };
  },
};

function whyNot(which: string): string {
  return /^\d+$/.test(which)
    ? 'is a part of the workers, and a round starts with its slowest: fewer standbys than workers gain nothing'
    : 'is neither';
}
