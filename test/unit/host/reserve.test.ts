import { readdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { withDomainLock } from '../../../src/host/domain-lock.js';
import { keepReserve, orFromReserve, RESERVE_BYTES } from '../../../src/host/reserve.js';
import type { FileSystem } from '../../../src/model/filesystem.js';
import { interceptFileSystem } from '../../fakes/intercepting-filesystem.js';
import { codeOf, makeHost, UUID } from '../../fakes/host-rig.js';

const NO_SPACE = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });

/** As a disk on which so much is free. */
function withFree(fs: FileSystem, availableBytes: number): FileSystem {
  return {
    ...interceptFileSystem(fs, (_, proceed) => proceed()),
    statfs: async (site, path) => ({ ...(await fs.statfs(site, path)), availableBytes }),
  };
}

t.test('the reserve is made once, and again when it is not whole', async (t) => {
  const { context } = await makeHost(t);
  const path = join(context.stateDirectory, 'reserve');
  await keepReserve(context);
  const made = await stat(path);
  t.match(made, { size: RESERVE_BYTES });
  t.equal(made.mode & 0o777, 0o600);
  await keepReserve(context);
  t.equal((await stat(path)).ino, made.ino);
  await truncate(path, 1);
  await keepReserve(context);
  t.match(await stat(path), { size: RESERVE_BYTES });
});

t.test('a disk with little room gets no reserve, and nothing is left of one that did not fit', async (t) => {
  const host = await makeHost(t);
  const { fs, stateDirectory } = host.context;
  const little = host.withFileSystem(withFree(fs, 4 * RESERVE_BYTES - 1));
  await t.rejects(keepReserve(little), { code: 'HOST_IO', next: /free space/ });
  const failing = interceptFileSystem(fs, (call, proceed) =>
    call.site === 'reserve:fsync' ? Promise.reject(NO_SPACE) : proceed(),
  );
  t.equal(await codeOf(keepReserve(host.withFileSystem(failing))), 'HOST_IO');
  t.strictSame(await readdir(stateDirectory), []);
});

t.test('what meets a full disk is done once more from the reserve, and no third time', async (t) => {
  const { context } = await makeHost(t);
  await keepReserve(context);
  let attempts = 0;
  const full = (): Promise<never> => {
    attempts += 1;
    return Promise.reject(NO_SPACE);
  };
  t.equal(await orFromReserve(context, () => (attempts++ === 0 ? full() : Promise.resolve('done'))), 'done');
  t.strictSame(await readdir(context.stateDirectory), []);
  attempts = 0;
  await t.rejects(orFromReserve(context, full), NO_SPACE);
  t.equal(attempts, 1, 'there is no reserve any more');
});

t.test('what fails otherwise leaves the reserve alone', async (t) => {
  const { context } = await makeHost(t);
  await keepReserve(context);
  const denied = Object.assign(new Error('EACCES'), { code: 'EACCES' });
  await t.rejects(
    orFromReserve(context, () => Promise.reject(denied)),
    denied,
  );
  t.strictSame(await readdir(context.stateDirectory), ['reserve']);
});

t.test('a domain that another process works on is no full disk', async (t) => {
  const { context } = await makeHost(t);
  await keepReserve(context);
  const request = { purpose: 'test', waitMs: 0 };
  await withDomainLock(context, UUID, request, async () => {
    t.equal(await codeOf(withDomainLock(context, UUID, request, () => Promise.resolve())), 'DOMAIN_BUSY');
  });
  t.ok((await readdir(context.stateDirectory)).includes('reserve'));
});
