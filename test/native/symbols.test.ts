import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import t from 'tap';

/** RHEL 8: glibc 2.28, and the libstdc++ of gcc 8. */
const floors = { GLIBC: '2.28', GLIBCXX: '3.4.25', CXXABI: '1.3.11' } as const;

const addon = process.env.REGROUP_ADDON ?? 'build/Release/regroup.node';

function run(command: string, args: readonly string[]): string {
  const { stdout, status, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? status}`);
  return stdout;
}

function isNewer(version: string, floor: string): boolean {
  const [a, b] = [version, floor].map(v => v.split('.').map(Number));
  for (let i = 0; i < 3; i++) {
    const difference = (a?.[i] ?? 0) - (b?.[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

t.test('the addon asks for nothing newer than RHEL 8 has', async t => {
  t.ok(existsSync(addon), `${addon} is built`);
  const symbols = run('readelf', ['--dyn-syms', '--wide', addon]);

  const versioned = [...symbols.matchAll(/(\w+)@@?(GLIBC|GLIBCXX|CXXABI)_([\d.]+)/g)];
  const tooNew = versioned
    .filter(([, , library, version]) =>
      isNewer(version ?? '', floors[library as keyof typeof floors]),
    )
    .map(([symbol]) => symbol);

  t.ok(versioned.length > 0, 'it has versioned symbols');
  t.same(tooNew, []);
});

for (const name of ['regroup_front', 'regroup_guardian']) {
  t.test(`${name} needs no libc, and nothing else at run time`, async t => {
    const program = `build/Release/${name}`;
    const headers = run('readelf', ['--program-headers', '--wide', program]);

    t.match(headers, /Elf file type is EXEC/);
    t.notMatch(headers, /INTERP|DYNAMIC/);
    t.equal(run('nm', ['--undefined-only', program]), '');
  });
}

t.test('the addon exports what Node looks for, and next to nothing else', async t => {
  const symbols = run('nm', ['--dynamic', '--defined-only', addon]);
  const names = symbols.split('\n').map(line => line.split(' ')[2] ?? '');

  const ours = names.filter(
    name => name !== '' && !/^_ZN?K?S|^_ZZNK?S|^_ZT[ISV]|^_init$|^_fini$/.test(name),
  );
  t.ok(ours.includes('napi_register_module_v1'));
  t.same(
    ours.filter(
      name => !/^(napi_register_module_v1|node_api_module_get_api_version_v1)$/.test(name),
    ),
    [],
  );
});
