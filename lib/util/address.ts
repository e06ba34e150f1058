/** `host:port`, and `[host]:port` for an IPv6 address. */
export function addressOf(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
