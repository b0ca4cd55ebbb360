/**
 * Who may read what the program makes: its own user, and nobody else; on the share, in the spool, in the journal, at the socket.
 */
import { lstat, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';
import { unlessGone } from '../../fixtures/unless-gone.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const PATIENCE_MS = 60_000;

/** Whatever lies below a directory and is open to others than its owner. */
async function openToOthers(root: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of (await unlessGone(readdir(root, { withFileTypes: true }))) ?? []) {
    if (entry.isSymbolicLink()) continue;
    const path = join(root, entry.name);
    const stats = await unlessGone(lstat(path));
    if (stats === undefined) continue;
    const mode = stats.mode & 0o7777;
    if (mode !== (entry.isDirectory() ? 0o700 : 0o600)) found.push(`${path} ${mode.toString(8)}`);
    if (stats.uid !== process.getuid?.() || stats.gid !== process.getgid?.()) {
      found.push(`${path} of ${String(stats.uid)}:${String(stats.gid)}`);
    }
    if (entry.isDirectory()) found.push(...(await openToOthers(path)));
  }
  return found;
}

for (const umask of [0o022, 0o000]) {
  t.test(
    `G5: through an outage of the share the state waits in the spool, and no file is open to others, under umask ${umask.toString(8)}`,
    (t) => session(t, umask),
  );
}

async function session(t: Test, asked: number): Promise<void> {
  const before = process.umask(0o022);
  t.teardown(() => process.umask(before));
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  // What the program makes from here on, it makes under this one.
  process.umask(asked);
  const other = join(site.base, 'made-under-it');
  await host.runJson(['share', 'init', other]);
  t.strictSame(await openToOthers(other), []);
  await host.startAgent(t);
  const guest = await Guest.start(t, host);
  await guest.keep(Buffer.from('before the outage'));
  const volume = site.volumeOf(guest);
  await volume.waitForHead(await guest.permall());

  const away = join(site.base, 'away');
  await rename(site.share, away);
  await guest.write(Buffer.from('during an outage!'));
  const spool = join(host.stateDirectory, 'spool', DOMAIN);
  await waitUntil('the state to be in the spool', PATIENCE_MS, async () =>
    (await readdir(spool).catch(() => [])).some((name) => name.endsWith('.tar.gz')) ? true : undefined,
  );
  t.match(await host.runJson(['status']), {
    domains: [{ uuid: DOMAIN, pending: 'spooled', attention: [{ next: /\S/ }] }],
  });
  t.strictSame(await openToOthers(host.stateDirectory), []);

  await rename(away, site.share);
  await volume.waitForHead(await guest.permall(), PATIENCE_MS);
  await waitUntil('the spool to be empty', PATIENCE_MS, async () =>
    (await readdir(spool).catch(() => [])).length === 0 ? true : undefined,
  );
  await mustRun(host, ['snapshot', 'create', DOMAIN, 'kept']);
  await mustRun(host, ['verify', '--all']);
  const exported = join(site.base, 'exported.tar.gz');
  await mustRun(host, ['export', DOMAIN, exported]);
  const restored = join(site.base, 'restored');
  await mustRun(host, ['restore', DOMAIN, '--to', restored]);
  t.equal((await lstat(exported)).mode & 0o7777, 0o600);
  for (const directory of [site.share, host.stateDirectory, host.runDirectory, restored]) {
    t.strictSame(await openToOthers(directory), [], directory);
  }
}
