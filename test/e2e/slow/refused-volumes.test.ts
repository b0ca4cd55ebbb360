/**
 * A start is refused where the volume, its holder or the local TPM is not what it should be.
 */
import { cp, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { formatSlot } from '../../../src/model/generation-name.js';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { isRefused, siteWithHistory, VALUE } from '../../fixtures/refused-start.js';
import { SwtpmProcess } from '../../fixtures/swtpm.js';

const history = siteWithHistory(t);

t.test('G3: a start is refused while a host that is alive holds the volume', async (t) => {
  const site = await (await history).copy(t);
  const holder = await site.host('kvm-a');
  await holder.startAgent(t);
  await Guest.start(t, holder);
  // Nothing of the start is still on its way to the share.
  await mustRun(holder, ['capture', DOMAIN]);
  await isRefused(t, await site.host('kvm-b'), {
    status: 3,
    code: 'HELD_ELSEWHERE',
    says: /held by host kvm-a, which is alive \(last heartbeat \d+\.\d s ago\)/,
    next: /stop the domain on kvm-a first; .* `swtpm-mirror take-over --force 6b0c2d4e/,
  });
});

t.test('a start is refused when the volume was forgotten', async (t) => {
  const site = await (await history).copy(t);
  const volume = site.volume(DOMAIN);
  const claim = ((await volume.entries()).at(-1)?.slot ?? 0) + 1;
  const by = `host=kvm-a&token=${'ab'.repeat(8)}&at=2026-01-01T00:00:00.000Z`;
  await symlink(`claim?${by}&reason=operator`, join(volume.log, formatSlot(claim)));
  await symlink(`tombstone?${by}&epoch=${claim}&reason=forget`, join(volume.log, formatSlot(claim + 1)));
  for (const name of ['kvm-a', 'kvm-b']) {
    await isRefused(t, await site.host(name), {
      status: 3,
      code: 'TOMBSTONED',
      says: /forgotten/,
      next: /swtpm-mirror take-over 6b0c2d4e/,
    });
  }
  const host = await site.host('kvm-b');
  await mustRun(host, ['take-over', DOMAIN]);
  const guest = await Guest.start(t, host);
  t.strictSame(await guest.read(VALUE.length), VALUE, 'what the error says to do brings the state back');
});

t.test('G8: a start is refused when the share has lost the volume that this host published to', async (t) => {
  const site = await (await history).copy(t);
  const host = await site.host('kvm-a');
  await rm(site.volume(DOMAIN).root, { recursive: true });
  const expected = { status: 3, code: 'STATE_MISSING', says: /no state of/, next: /backup/ };
  await isRefused(t, host, { ...expected, next: /resolve 6b0c2d4e\S+ --keep local/ });
  await rm(join(host.swtpmDirectory, DOMAIN), { recursive: true });
  await isRefused(t, host, expected);
  await mkdir(host.tpmDirectory(DOMAIN), { recursive: true });
  await isRefused(t, host, { ...expected, next: /purge 6b0c2d4e/ });
  await mustRun(host, ['purge', DOMAIN, '--yes']);
  const guest = await Guest.start(t, host, { manufactured: true });
  t.not((await guest.permall()).length, 0, 'what the error says to do starts it with a blank TPM');
});

t.test('a volume that is lost is made again from the state of the host that has it', async (t) => {
  const site = await (await history).copy(t);
  const host = await site.host('kvm-a');
  await rm(site.volume(DOMAIN).root, { recursive: true });
  await mustRun(host, ['resolve', DOMAIN, '--keep', 'local']);
  const guest = await Guest.start(t, host);
  t.strictSame(await guest.read(VALUE.length), VALUE);
});

t.test('G4: a start is refused when the volume is older than what this host published', async (t) => {
  const site = await (await history).copy(t);
  const host = await site.host('kvm-a');
  const volume = site.volume(DOMAIN);
  const backup = join(site.base, 'backup');
  await cp(volume.root, backup, { recursive: true, verbatimSymlinks: true });
  const guest = await Guest.start(t, host);
  await guest.write(Buffer.from('a newer value'));
  await guest.stop();
  await rm(volume.root, { recursive: true });
  await rename(backup, volume.root);
  await isRefused(t, host, {
    status: 3,
    code: 'STATE_BEHIND',
    says: /ends at generation \d+, but this host knows of generation \d+/,
    next: /older backup/,
  });
});

t.test('G8: a start is refused when another TPM came up while the product was not there', async (t) => {
  const site = await (await history).copy(t);
  const host = await site.host('kvm-a');
  const stateDirectory = host.tpmDirectory(DOMAIN);
  await rm(stateDirectory, { recursive: true });
  await mkdir(stateDirectory);
  const runDirectory = join(site.base, 'foreign');
  await mkdir(runDirectory);
  const foreign = await SwtpmProcess.start({ stateDirectory, runDirectory });
  t.teardown(() => foreign.kill());
  await foreign.stop();
  await isRefused(t, host, {
    status: 3,
    code: 'FOREIGN_TPM',
    says: /another TPM/,
    next: /swtpm-mirror resolve 6b0c2d4e\S+ --keep head/,
  });
});
