/**
 * One thing on the share that is not what it ought to be, or hangs, hides no other.
 */
import { hostNamed } from '../../fixtures/host-identity.js';
import { execFileSync } from 'node:child_process';
import { mkdir, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { systemClock, systemRandom } from '../../../src/host/node-environment.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../../src/volume/local-share-store.js';
import type { ShareService } from '../../../src/volume/share-administration.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { claimCall, uuidOf } from '../../fixtures/share-calls.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const EXPIRY = { hostExpiryMs: 30_000, shareId: undefined };
const HOST_READ_MS = 100;

function storeOf(root: string, name: string, fs: FileSystem = new NodeFileSystem()): ShareService {
  const context = { fs, root, self: hostNamed(name), hostReadMs: HOST_READ_MS };
  return createLocalShareStore({ ...context, clock: systemClock, random: systemRandom });
}

const PLANTS: Readonly<Record<string, (path: string) => unknown>> = {
  'a FIFO': (path) => execFileSync('mkfifo', [path]),
  'a link to a file': (path) => symlink('/etc/hostname', path),
  'a dangling link': (path) => symlink('/nonexistent', path),
  'a link to itself': (path) => symlink('heartbeat', path),
  'a directory': (path) => mkdir(path),
  'a socket': (path) =>
    new Promise((resolve) => {
      const server = createServer().listen(path, () => {
        server.unref();
        resolve(undefined);
      });
    }),
  'a device': (path) => void execFileSync('mknod', [path, 'c', '1', '3']),
};
const isRoot = process.getuid?.() === 0;

t.test(
  'whatever stands in the place of one host’s heartbeat, all others are shown, and it is shown as unreadable',
  async (t) => {
    for (const [name, plant] of Object.entries(PLANTS)) {
      if (name === 'a device' && !isRoot) continue;
      const root = join(await temporaryDirectory(t), 's');
      const a = storeOf(root, 'kvm-a');
      await a.initialise({});
      for (const host of ['kvm-b', 'kvm-c', 'kvm-d']) await storeOf(root, host).beat({ shareId: undefined });
      await rm(join(root, 'hosts/kvm-c/heartbeat'));
      await plant(join(root, 'hosts/kvm-c/heartbeat'));
      await writeFile(join(root, 'hosts/kvm-x'), 'no directory');
      const { hosts, strays } = await a.survey(EXPIRY);
      t.match(
        hosts.map(({ host, alive, problem }) => [host, alive, problem?.code]),
        [
          ['kvm-b', true, undefined],
          ['kvm-c', false, 'VOLUME_DAMAGED'],
          ['kvm-d', true, undefined],
        ],
        name,
      );
      t.same(strays, ['hosts/kvm-x']);
    }
  },
);

t.test('G3: a holder whose heartbeat is no file is neither alive nor dead: nothing is claimed', async (t) => {
  for (const [name, plant] of Object.entries(PLANTS)) {
    if (name === 'a device' && !isRoot) continue;
    const root = join(await temporaryDirectory(t), 's');
    const a = storeOf(root, 'kvm-a');
    await a.initialise({});
    await a.claim(claimCall('a'));
    await rm(join(root, 'hosts/kvm-a/heartbeat'));
    await plant(join(root, 'hosts/kvm-a/heartbeat'));
    await t.rejects(
      storeOf(root, 'kvm-b').claim({ ...claimCall('a'), scope: 'expired' }),
      { code: 'VOLUME_DAMAGED', next: /remove it/ },
      name,
    );
  }
});

t.test(
  'one host’s heartbeat that hangs holds up nothing but what needs it, and takes one call',
  async (t) => {
    const root = join(await temporaryDirectory(t), 's');
    const a = storeOf(root, 'kvm-a');
    await a.initialise({});
    for (const letter of ['a', 'b', 'c']) await a.claim(claimCall(letter));
    let hanging = 0;
    const fs = interceptFileSystem(new NodeFileSystem(), async ({ site, path }, proceed) => {
      if (site !== 'heartbeat:open-other' || !path.includes('kvm-a')) return await proceed();
      hanging++;
      return await new Promise(() => undefined);
    });
    const b = storeOf(root, 'kvm-b', fs);
    await storeOf(root, 'kvm-c').beat({ shareId: undefined });
    const calls = ['a', 'b', 'c', 'a', 'b'].map((letter) =>
      b.claim({ ...claimCall(letter), scope: 'expired' }),
    );
    await Promise.all(
      calls.map((call) => t.rejects(call, { code: 'SHARE_TIMEOUT', message: /heartbeat of host kvm-a/ })),
    );
    const late = hanging;
    for (let times = 0; times < 20; times++) {
      await t.rejects(b.claim({ ...claimCall('a'), scope: 'expired' }), { code: 'SHARE_TIMEOUT' });
    }
    t.equal(hanging, late, 'while it hangs, nobody asks again');
    t.match((await b.survey(EXPIRY)).hosts, [
      { host: 'kvm-a', alive: false, problem: { code: 'SHARE_TIMEOUT' } },
      { host: 'kvm-b', alive: true },
      { host: 'kvm-c', alive: true },
    ]);
    t.same(await b.list({}), ['a', 'b', 'c'].map(uuidOf), 'and the rest of the share is served');
  },
);

t.test('a heartbeat of this host that somebody made longer keeps it from no beat', async (t) => {
  for (const size of [0, 1, 1_023, 4_096, 16_384, 16_385, 2 ** 30, 2 ** 40]) {
    const root = join(await temporaryDirectory(t), 's');
    const a = storeOf(root, 'kvm-a');
    await a.initialise({});
    await a.beat({ shareId: undefined });
    const path = join(root, 'hosts/kvm-a/heartbeat');
    for (const store of [a, storeOf(root, 'kvm-a')]) {
      await truncate(path, size);
      for (let beats = 0; beats < 3; beats++) await store.beat({ shareId: undefined });
      t.ok((await stat(path)).size <= 16_384, `${String(size)} bytes`);
      t.match((await storeOf(root, 'kvm-b').survey(EXPIRY)).hosts, [{ host: 'kvm-a', alive: true }]);
    }
  }
});

t.test('a log of more entries than anybody could have written is damage, at once', async (t) => {
  const root = join(await temporaryDirectory(t), 's');
  const fs = interceptFileSystem(new NodeFileSystem(), async ({ site }, proceed) => {
    const names = await proceed();
    if (site !== 'log:readdir') return names;
    const crowd = Array.from({ length: 100_000 }, (_, at) => String(at + 1).padStart(8, '0'));
    return crowd as Awaited<ReturnType<typeof proceed>>;
  });
  const a = storeOf(root, 'kvm-a');
  await a.initialise({});
  await a.claim(claimCall('a'));
  t.match(await storeOf(root, 'kvm-b', fs).summarise({ uuid: uuidOf('a') }), {
    problem: { code: 'VOLUME_DAMAGED', message: /100000 entries/ },
  });
});
