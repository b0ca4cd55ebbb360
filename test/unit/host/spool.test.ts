import { mkdir, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { keepReserve } from '../../../src/host/reserve.js';
import { Spool } from '../../../src/host/spool.js';
import type { Capture } from '../../../src/model/capture.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { crashBeforeEach } from '../../fakes/crashing-filesystem.js';
import { failEach, faultingFileSystem, fullBeside } from '../../fakes/faulting-filesystem.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import {
  blob,
  captureOf,
  codeOf,
  makeHost,
  manifestOf,
  OTHER_UUID,
  UUID,
  type HostRig,
} from '../../fakes/host-rig.js';

const PERMALL = 'tpm2/tpm2-00.permall';
const OLD = captureOf({ [PERMALL]: blob('used.permall') });
const NEW = captureOf({ [PERMALL]: blob('used-restarted.permall'), 'nvram/nvram.fd': 'variables' });
const OTHER = captureOf({ [PERMALL]: blob('fresh-a.permall') }, OTHER_UUID);

function makeSpool(host: HostRig, fs?: FileSystem, spoolBytesMax = 1_000_000): Spool {
  return new Spool(host.withFileSystem(fs ?? host.context.fs), { spoolBytesMax });
}

function put(spool: Spool, capture: Capture): Promise<string> {
  return spool.put(manifestOf(capture), capture);
}

function directoryOf(host: HostRig): string {
  return join(host.context.stateDirectory, 'spool', UUID);
}

t.test('G5: what was put is there for another process, whole', async (t) => {
  const host = await makeHost(t);
  t.strictSame(await makeSpool(host).peek(UUID), { newest: undefined, damaged: [] });
  const name = await put(makeSpool(host), NEW);
  const { newest, damaged } = await makeSpool(host).peek(UUID);
  t.strictSame(damaged, []);
  t.equal(newest?.name, name);
  t.strictSame(newest?.capture, NEW);
  t.strictSame(newest?.manifest, manifestOf(NEW));
  t.equal((await stat(join(directoryOf(host), name))).mode & 0o777, 0o600);
});

t.test('a newer state supersedes the older one of its domain alone', async (t) => {
  const host = await makeHost(t);
  const spool = makeSpool(host);
  await put(spool, OLD);
  await put(spool, OTHER);
  const name = await put(spool, NEW);
  t.strictSame(await readdir(directoryOf(host)), [name]);
  t.same((await spool.list()).map(({ uuid }) => uuid).sort(), [OTHER_UUID, UUID]);
  await spool.remove(UUID, name);
  t.same(
    (await spool.list()).map(({ uuid }) => uuid),
    [OTHER_UUID],
  );
  t.notOk(
    (await readdir(join(host.context.stateDirectory, 'spool'))).includes(UUID),
    'no empty directory stays',
  );
});

t.test('G5: a damaged newest entry is reported and kept, and the one before it is used', async (t) => {
  const host = await makeHost(t);
  const spool = makeSpool(host);
  const older = await put(spool, OLD);
  const kept = await readFile(join(directoryOf(host), older));
  const newer = await put(spool, NEW);
  await writeFile(join(directoryOf(host), older), kept);
  await truncate(join(directoryOf(host), newer), 100);
  const { newest, damaged } = await spool.peek(UUID);
  t.equal(newest?.name, older);
  t.match(damaged, [{ name: newer, error: { code: 'GENERATION_DAMAGED' } }]);
  t.same((await readdir(directoryOf(host))).sort(), [older, newer].sort());
});

t.test('an entry that holds the state of another domain is damaged', async (t) => {
  const host = await makeHost(t);
  const spool = makeSpool(host);
  const name = await put(spool, OTHER);
  await mkdir(directoryOf(host));
  const stray = await readFile(join(host.context.stateDirectory, 'spool', OTHER_UUID, name));
  await writeFile(join(directoryOf(host), name), stray);
  t.match(await spool.peek(UUID), {
    newest: undefined,
    damaged: [{ error: { code: 'GENERATION_DAMAGED' } }],
  });
});

t.test(
  'removing an entry takes those that it superseded, so that none comes back as the newest',
  async (t) => {
    const host = await makeHost(t);
    const spool = makeSpool(host);
    const older = await put(spool, OLD);
    const kept = await readFile(join(directoryOf(host), older));
    const newer = await put(spool, NEW);
    await writeFile(join(directoryOf(host), older), kept);
    await spool.remove(UUID, newer);
    t.strictSame(await spool.peek(UUID), { newest: undefined, damaged: [] });
  },
);

t.test('G5: a full spool refuses, keeps what it has, and takes more when there is room', async (t) => {
  const host = await makeHost(t);
  const roomy = makeSpool(host);
  const older = await put(roomy, OLD);
  const [entry] = await roomy.list();
  const tight = makeSpool(host, undefined, (entry?.bytes ?? 0) + 100);
  await t.rejects(put(tight, OTHER), { code: 'SPOOL_FULL', next: /./ });
  t.equal((await tight.peek(UUID)).newest?.name, older);
  t.equal(await codeOf(put(tight, OLD)), 'resolved', 'superseding needs no room for both');
  await roomy.remove(UUID, (await roomy.peek(UUID)).newest?.name ?? '');
  t.equal(await codeOf(put(tight, OTHER)), 'resolved', 'room that another process made is found');
});

t.test('G1: short writes are continued until every byte is taken', async (t) => {
  const host = await makeHost(t);
  const { fs } = faultingFileSystem(host.context.fs, [], 1000);
  await put(makeSpool(host, fs), NEW);
  t.strictSame((await makeSpool(host).peek(UUID)).newest?.capture, NEW);
});

t.test('G1: a disk that takes no more bytes without an error fails the put', async (t) => {
  const host = await makeHost(t);
  const spool = makeSpool(host);
  await put(spool, OLD);
  const { fs } = faultingFileSystem(host.context.fs, [], 0);
  t.equal(await codeOf(put(makeSpool(host, fs), NEW)), 'HOST_IO');
  t.equal((await spool.peek(UUID)).newest?.capture.digest, OLD.digest);
});

t.test('G2: an entry is synced before its rename, and its directory before the older one goes', async (t) => {
  const host = await makeHost(t);
  const sites: string[] = [];
  const fs = interceptFileSystem(host.context.fs, (call, proceed) => {
    sites.push(call.site);
    return proceed();
  });
  const spool = makeSpool(host, fs);
  await put(spool, OLD);
  sites.length = 0;
  await put(spool, NEW);
  const steps = [
    'spool:write',
    'spool:fsync',
    'spool:close',
    'spool:rename',
    'spool:sync',
    'spool-remove:unlink',
  ];
  t.strictSame(
    sites.filter((site) => steps.includes(site)),
    steps,
  );
});

t.test('G5: a crash before any operation of a put leaves the old or the new state whole', async (t) => {
  let host = await makeHost(t);
  const seen = new Set<string | undefined>();
  const crashes = await crashBeforeEach(
    async () => {
      host = await makeHost(t);
      await put(makeSpool(host), OLD);
      return host.context.fs;
    },
    (fs) => put(makeSpool(host, fs), NEW),
    async ({ site }) => {
      const { newest, damaged } = await makeSpool(host).peek(UUID);
      seen.add(newest?.capture.digest);
      t.ok([OLD.digest, NEW.digest].includes(newest?.capture.digest ?? ''), `crash before ${site}`);
      t.strictSame(damaged, [], `nothing half written has an entry's name after a crash before ${site}`);
      const name = await put(makeSpool(host), NEW);
      t.strictSame(
        await readdir(directoryOf(host)),
        [name],
        `swept by the next put after a crash before ${site}`,
      );
    },
  );
  t.ok(crashes > 10, `${crashes} crash points`);
  t.same(seen, new Set([OLD.digest, NEW.digest]), 'the test met both outcomes');
});

for (const errnos of [['ENOSPC'], ['EIO', 'EDQUOT', 'EROFS', 'EACCES']]) {
  void t.test(
    `G5: any operation of a put that fails with ${errnos.join(' or ')} is reported and costs no state`,
    async (t) => {
      let host = await makeHost(t);
      await failEach(
        async () => {
          host = await makeHost(t);
          await put(makeSpool(host), OLD);
          return host.context.fs;
        },
        (fs) => put(makeSpool(host, fs), NEW),
        errnos,
        async ({ site, errno }, outcome) => {
          t.match(outcome, { code: 'HOST_IO' }, `${site} is reported`);
          const digest = (await makeSpool(host).peek(UUID)).newest?.capture.digest ?? '';
          t.ok([OLD.digest, NEW.digest].includes(digest), site);
          t.equal(await codeOf(put(makeSpool(host), NEW)), 'resolved', `a put after ${errno} at ${site}`);
        },
      );
    },
  );
}

t.test('leftovers of interrupted puts are swept, entries and strangers stay', async (t) => {
  const host = await makeHost(t);
  const spool = makeSpool(host);
  await spool.sweep(UUID);
  const name = await put(spool, NEW);
  await writeFile(join(directoryOf(host), `.tmp-${name}`), 'half');
  await writeFile(join(directoryOf(host), 'note.txt'), 'of the operator');
  await spool.sweep(UUID);
  t.same((await readdir(directoryOf(host))).sort(), [name, 'note.txt'].sort());
  await spool.remove(UUID, name);
  t.same(await readdir(directoryOf(host)), ['note.txt']);
});

t.test('names that are no entry of the spool never become paths', async (t) => {
  const host = await makeHost(t);
  t.equal(await codeOf(makeSpool(host).remove(UUID, '../../journal/x')), 'INTERNAL');
  t.equal(await codeOf(makeSpool(host).read(UUID, '../x')), 'INTERNAL');
});

t.test('G5: a state is spooled on a full disk, from the reserve', async (t) => {
  const host = await makeHost(t);
  await keepReserve(host.context);
  const reserve = join(host.context.stateDirectory, 'reserve');
  await put(makeSpool(host, fullBeside(reserve, host.context.fs)), NEW);
  t.strictSame((await makeSpool(host).peek(UUID)).newest?.capture, NEW);
  t.strictSame(await readdir(host.context.stateDirectory), ['spool']);
});
