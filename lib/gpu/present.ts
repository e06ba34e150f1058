import type { DeviceSource, TopologySource } from '../machine/source.js';
import type { NativeGpus } from '../native/gpu.js';
import { deviceFolder } from './devices.js';
import { type Gpu, visibleAmdGpus, visibleGpus, visibleIntelGpus } from './visible.js';

const folder = '/proc/driver/nvidia/gpus';
const kfdNodes = '/sys/class/kfd/kfd/topology/nodes';
const cards = '/sys/class/drm';

type Env = Readonly<Record<string, string | undefined>>;

/**
 * The GPUs that a worker's devices 0, 1, … are: NVIDIA's if there are any, else AMD's, else Intel's.
 *
 * @returns undefined in place of a device of which we don't know which it is
 */
export function workerGpus(env: Env, source: TopologySource): readonly (Gpu | undefined)[] {
  const { gpus, visible } = presentGpus(source);
  return visible(env, gpus);
}

/** All of this machine's, of the maker whose GPUs workers would use. */
export function machineGpus(source: TopologySource): readonly Gpu[] {
  return presentGpus(source).gpus;
}

/** The GPUs of one maker, with its rule about which of them a process sees. */
function presentGpus(source: TopologySource): {
  readonly gpus: readonly Gpu[];
  readonly visible: (env: Env, gpus: readonly Gpu[]) => readonly (Gpu | undefined)[];
} {
  const nvidia = withNvml(nvidiaGpus(source), source.nvml);
  if (nvidia.length > 0) {
    return { gpus: nvidia, visible: (env, gpus) => visibleGpus(env.CUDA_VISIBLE_DEVICES, gpus) };
  }
  const amd = amdGpus(source);
  if (amd.length > 0) return { gpus: amd, visible: visibleAmdGpus };
  return { gpus: intelGpus(source), visible: visibleIntelGpus };
}

/** Whether which GPUs a worker sees isn't known before NVIDIA's library has been asked. */
export function lacksNvml(env: Env, source: TopologySource): boolean {
  return source.nvml === undefined && needsNvml(env, source.list(deviceFolder()));
}

/**
 * Whether only NVIDIA's library knows which GPU is meant: it takes its time, and may hang.
 *
 * @param devices names of device files
 */
export function needsNvml(env: Env, devices: readonly string[]): boolean {
  const visible = env.CUDA_VISIBLE_DEVICES?.trim() ?? '';
  return /^MIG-(?!GPU-)/.test(visible) && devices.some(isNvidiaDevice);
}

/**
 * NVIDIA's GPUs in PCI order, by plain reads: no library, and nothing that hangs on a sick GPU. A
 * container sees all of them here and has device files of its own only.
 *
 * @source NVIDIA driver README, /proc/driver/nvidia/gpus/<domain:bus:device.function>/information
 */
export function nvidiaGpus(source: DeviceSource): readonly Gpu[] {
  const granted = new Set(source.list('/dev').filter(isNvidiaDevice));
  return [...source.list(folder)].sort().flatMap(address => {
    const information = source.read(`${folder}/${address}/information`) ?? '';
    const minor = /^Device Minor:\s*(\d+)/m.exec(information)?.[1];
    if (minor !== undefined && !granted.has(`nvidia${minor}`)) return [];
    const uuid = /^GPU UUID:\s*(\S+)/m.exec(information)?.[1] ?? '';
    const device = minor === undefined ? {} : { device: `nvidia${minor}` };
    return [{ uuid, pci: address.toLowerCase(), ...device }];
  });
}

/** Adds to GPUs what the library tells; or gives the library's own, where /proc tells of none, as in some containers. */
export function withNvml(gpus: readonly Gpu[], nvml: NativeGpus | undefined): readonly Gpu[] {
  if (nvml === undefined) return gpus;

  const told = nvml.devices
    .filter(({ pci }) => pci !== '')
    .map(({ uuid, pci, minor, instances }) => ({
      uuid,
      pci,
      ...(minor === undefined ? {} : { device: `nvidia${minor}` }),
      ...(instances.length === 0 ? {} : { instances: instances.map(each => each.uuid) }),
    }));
  if (gpus.length === 0) return told;
  return gpus.map(gpu => {
    const same = told.find(({ pci }) => pci === gpu.pci);
    return same === undefined ? gpu : { ...same, ...gpu, uuid: same.uuid || gpu.uuid };
  });
}

/**
 * AMD's GPUs in the order of ROCm's devices. What we may not use can't be read. A GPU that's
 * partitioned is several.
 *
 * @source Linux v6.12, drivers/gpu/drm/amd/amdkfd/kfd_topology.c, node_show
 */
export function amdGpus(source: DeviceSource): readonly Gpu[] {
  return numbered(source.list(kfdNodes)).flatMap(node => {
    const properties = source.read(`${kfdNodes}/${node}/properties`) ?? '';
    const property = (name: string): bigint =>
      BigInt(new RegExp(`^${name} (\\d+)$`, 'm').exec(properties)?.[1] ?? 0);
    // CPUs are nodes, too.
    if (property('simd_count') === 0n) return [];

    const location = Number(property('location_id') & 0xffffn);
    const unique = property('unique_id');
    const minor = property('drm_render_minor');
    return [
      {
        uuid: unique === 0n ? '' : `GPU-${hex(unique, 16)}`,
        pci: `${hex(property('domain'), 4)}:${hex(location >> 8, 2)}:${hex((location >> 3) & 31, 2)}.${location & 7}`,
        ...(minor === 0n ? {} : { device: `dri/renderD${minor}` }),
        shownBy: 'ROCR_VISIBLE_DEVICES' as const,
      },
    ];
  });
}

/**
 * Intel's GPUs in PCI order. They have no UUID that can be read without a library.
 *
 * @source Linux v6.12, Documentation/ABI/testing/sysfs-bus-pci
 */
export function intelGpus(source: TopologySource): readonly Gpu[] {
  const gpus = source
    .list(cards)
    .filter(name => /^card\d+$/.test(name))
    .flatMap(card => {
      const device = `${cards}/${card}/device`;
      const isIntel = source.read(`${device}/vendor`)?.trim() === '0x8086';
      const isDisplay = source.read(`${device}/class`)?.startsWith('0x03') ?? false;
      const pci = source.resolve(device).split('/').at(-1) ?? '';
      if (!isIntel || !isDisplay || !/^[0-9a-f]{4,}:/.test(pci)) return [];
      const render = source.list(`${device}/drm`).find(name => /^renderD\d+$/.test(name));
      const own = render === undefined ? {} : { device: `dri/${render}` };
      return [{ uuid: '', pci, ...own, shownBy: 'ZE_AFFINITY_MASK' as const }];
    });
  return gpus.sort((one, other) => (one.pci < other.pci ? -1 : 1));
}

function isNvidiaDevice(name: string): boolean {
  return /^nvidia\d+$/.test(name);
}

function numbered(names: readonly string[]): readonly number[] {
  return names
    .filter(name => /^\d+$/.test(name))
    .map(Number)
    .sort((one, other) => one - other);
}

function hex(value: bigint | number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
