/**
 * rpc-counts: how many requests a host has sent to the NFS server, by kind, as its kernel counts them.
 */
import { MOUNT_POINT, type Host } from './machines/host.js';

export type RpcCounts = ReadonlyMap<string, number>;

/** What the kernel sends by itself to keep its lease. */
const KEEP_ALIVE = ['SEQUENCE', 'RENEW', 'NULL'];
const LOOK_MS = 500;
/** Equal counts in a row after which nothing is under way. */
const QUIET_LOOKS = 3;

export async function readRpcCounts(host: Host): Promise<RpcCounts> {
  const text = await host.machine.shell.run('cat /proc/self/mountstats');
  const mount =
    text.split(/^device /m).find((section) => section.includes(` mounted on ${MOUNT_POINT} `)) ?? '';
  const operations = mount.split('per-op statistics')[1] ?? '';
  const counts = new Map<string, number>();
  for (const [, name = '', count] of operations.matchAll(/^\s*([A-Z_0-9]+): (\d+)/gm)) {
    if (!KEEP_ALIVE.includes(name)) counts.set(name, Number(count));
  }
  return counts;
}

/** The counts once they have stopped to rise. */
export async function quietRpcCounts(host: Host): Promise<RpcCounts> {
  let last = await readRpcCounts(host);
  for (let quiet = 0; quiet < QUIET_LOOKS;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const now = await readRpcCounts(host);
    quiet = total(difference(last, now)) === 0 ? quiet + 1 : 0;
    last = now;
  }
  return last;
}

export function difference(before: RpcCounts, after: RpcCounts): RpcCounts {
  const risen = [...after].map(([name, count]) => [name, count - (before.get(name) ?? 0)] as const);
  return new Map(risen.filter(([, count]) => count !== 0));
}

export function total(counts: RpcCounts): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

/** `5: OPEN WRITE CLOSE RENAME SYMLINK` */
export function describeRpcs(counts: RpcCounts): string {
  const names = [...counts].map(([name, count]) => (count === 1 ? name : `${count} ${name}`));
  return `${total(counts)}: ${names.join(' ')}`;
}
