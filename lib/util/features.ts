/** What `REGROUP_DISABLE` names, comma-separated: what to do without, though the kernel has it. */
export function disabledFeatures(): string[] {
  return (process.env.REGROUP_DISABLE ?? '')
    .split(',')
    .map(name => name.trim())
    .filter(name => name !== '');
}
