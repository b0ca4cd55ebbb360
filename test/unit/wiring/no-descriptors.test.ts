/**
 * A process that has no descriptors left: whatever it tries to start fails, is told, and ends nothing.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import t from 'tap';

const source = (path: string): string => JSON.stringify(join(process.cwd(), 'src', path));

/** Tries to start everything that the program ever starts, with `left` descriptors to spare, and prints what came of it. */
const PROGRAM = `
import { openSync, closeSync, writeSync } from 'node:fs';
import { nodeFork } from ${source('storage/node-fork.ts')};
import { StorageClient } from ${source('storage/storage-client.ts')};
import { systemClock } from ${source('host/node-environment.ts')};
import { followDomainEvents } from ${source('libvirt/virsh-events.ts')};
import { hasVirsh, runVirsh } from ${source('libvirt/virsh-adapter.ts')};
import { compressor } from ${source('wiring/compressor.ts')};
import { systemdManager } from ${source('wiring/systemd-notify.ts')};

const outcomes: Record<string, string> = {};
const noted = (name: string, work: Promise<unknown>): Promise<void> =>
  work.then(
    () => { outcomes[name] = 'ended'; },
    (error: { code?: string; message: string }) => { outcomes[name] = error.code ?? error.message; },
  );
// What is loaded at the first use is loaded before.
await Promise.allSettled([runVirsh({ uri: 'x:///', deadlineMs: 1000, program: 'true' }, []), compressor.compress('xz', new Uint8Array(1))]);
const held: number[] = [];
try { for (;;) held.push(openSync('/dev/null', 'r')); } catch { /* none is left */ }
for (let at = 0; at < Number(process.argv[2]); at++) closeSync(held.pop() as number);

const share = new StorageClient({
  fork: nodeFork({ program: '/nonexistent.cjs', parameters: { root: '/x', host: 'kvm-a', machineId: 'm', uid: 0, gid: 0 } }),
  clock: systemClock, deadlineMs: 2000, limits: { startupMs: 2000 },
});
const virsh = { uri: 'x:///', deadlineMs: 2000, program: 'true' };
await Promise.all([
  noted('share', share.identify({})),
  noted('share again', share.beat({ shareId: undefined })),
  noted('events', new Promise<void>((resolve) => { followDomainEvents(virsh, () => undefined, resolve); })),
  noted('virsh', runVirsh(virsh, ['list'])),
  noted('hasVirsh', hasVirsh(virsh)),
  noted('xz', compressor.decompress('xz', new Uint8Array(10), 100)),
  noted('bzip2', compressor.compress('bzip2', new Uint8Array(10))),
  noted('systemd', systemdManager({ NOTIFY_SOCKET: '/nonexistent' }, 1)!.tell(['READY=1'])),
]);
for (const descriptor of held) closeSync(descriptor);
await share.close();
writeSync(1, JSON.stringify(outcomes));
process.exit(0);
`;

t.test(
  'whatever is started without descriptors to spare fails by name, and this process lives on',
  async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'no-fds-'));
    t.teardown(() => rm(directory, { recursive: true }));
    const entry = join(directory, 'entry.mts');
    const program = join(directory, 'entry.mjs');
    await writeFile(entry, PROGRAM);
    await build({ entryPoints: [entry], outfile: program, bundle: true, platform: 'node', format: 'esm' });
    for (const left of [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16]) {
      const { status, stdout, stderr } = spawnSync(
        '/bin/sh',
        ['-c', 'ulimit -n 80; exec "$@"', 'sh', process.execPath, program, String(left)],
        { encoding: 'utf8', timeout: 60_000, env: { PATH: process.env['PATH'], UV_USE_IO_URING: '0' } },
      );
      t.equal(status, 0, `${left} descriptors to spare: ${stderr.slice(0, 600)}`);
      const outcomes = JSON.parse(stdout || '{}') as Record<string, string>;
      t.equal(Object.keys(outcomes).length, 8, 'each comes to an end');
      t.match(outcomes, { share: 'SHARE_UNAVAILABLE', 'share again': 'SHARE_UNAVAILABLE' });
      if (left === 0) t.match(outcomes, { xz: 'HOST_IO', bzip2: 'HOST_IO' });
    }
  },
);
