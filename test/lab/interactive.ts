/**
 * interactive: the lab by hand (`scripts/lab up`): commands in the guests, and what is done to them from outside.
 *
 *   kvm-a ls -l /mnt    runs a command in a guest: server, kvm-a or kvm-b
 *   cut kvm-a           nothing gets through between that host and the server
 *   heal kvm-a
 */
import { createInterface } from 'node:readline';
import type { Cluster } from './machines/cluster.js';
import { USUAL_MOUNT } from './machines/host.js';

/** Resolves when the input ends. */
export async function serveInput(cluster: Cluster): Promise<void> {
  for (const host of cluster.hosts) await host.mount(USUAL_MOUNT);
  console.log('up; the share is mounted at /mnt on kvm-a and kvm-b. Try: kvm-a df /mnt');
  for await (const line of createInterface(process.stdin)) {
    if (line.trim() !== '') await obey(cluster, line.trim());
  }
}

async function obey({ hosts, machines }: Cluster, line: string): Promise<void> {
  const [first = '', ...words] = line.split(' ');
  const host = hosts.find(({ name }) => name === words[0]);
  if (first === 'cut' && host) {
    host.cable.cut();
    return;
  }
  if (first === 'heal' && host) {
    host.cable.heal();
    return;
  }
  const guest = machines.find(({ name }) => name === first);
  if (!guest) {
    console.error(
      `expected cut, heal or one of ${machines.map(({ name }) => name).join(', ')}, found ${first}`,
    );
    return;
  }
  const { status, stdout, stderr } = await guest.shell.try(words.join(' '));
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  if (status !== 0) console.error(`status ${status}`);
}
