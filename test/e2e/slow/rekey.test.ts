/**
 * A key is changed while VMs run, and everything that an operator does with encrypted generations.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { makeKey, openByHand, type AgeKey } from '../../fixtures/age-keys.js';
import { DOMAIN, Guest, mustRun, OTHER_DOMAIN } from '../../fixtures/guest.js';
import { runCommand } from '../../fixtures/process.js';
import { isRefused } from '../../fixtures/refused-start.js';
import { Site } from '../../fixtures/site.js';

const MEMBER = 'tpm2/tpm2-00.permall';
const FIRST = Buffer.from('first');
const SECOND = Buffer.from('other');

async function opensAll(key: AgeKey, site: Site): Promise<boolean> {
  const { root } = site.volume(DOMAIN);
  const archives: string[] = [];
  for (const directory of ['gen', 'pins']) {
    archives.push(...(await readdir(join(root, directory))).map((name) => join(root, directory, name)));
  }
  const opened = await Promise.all(archives.map((archive) => openByHand(key, archive, MEMBER)));
  return archives.length > 0 && opened.every((content) => content !== undefined);
}

t.test('a key is changed under a running domain, and the old key opens nothing any more', async (t) => {
  const site = await Site.create(t);
  const [old, next] = [await makeKey(site.base, 'old'), await makeKey(site.base, 'next')];
  const both = join(site.base, 'both.key');
  const host = await site.host('kvm-a');
  let agent = await host.startAgent(t);
  const guest = await Guest.start(t, host);
  await guest.keep(FIRST);
  const volume = site.volumeOf(guest);
  const first = await volume.waitForHead(await guest.permall());
  await mustRun(host, ['snapshot', 'create', DOMAIN, 'plain']);

  // Encryption begins. What lies there in the clear is used only while the operator says so.
  await agent.stop();
  const begun = { recipients: [old.recipient], identity_file: old.file };
  await host.configure({ encryption: begun });
  t.match(await host.run(['rekey', '--all']), {
    status: 3,
    stderr: /PLAIN_REFUSED: \d files? in the clear .*\n {2}.*accept_plain = true/,
  });
  t.match(await host.run(['restore', DOMAIN, '--to', join(site.base, 'out')]), {
    status: 3,
    stderr: /PLAIN_REFUSED: /,
  });
  await host.configure({ encryption: { ...begun, accept_plain: true } });
  agent = await host.startAgent(t);
  t.match(await mustRun(host, ['status']), /NEEDS_ATTENTION: encryption\.accept_plain is on/);
  t.match((await host.run(['doctor'])).stdout, /^! {3}keys: .*encryption\.accept_plain is on/m);
  await guest.write(SECOND);
  await volume.waitForHead(await guest.permall());
  t.match(await host.runJson(['rekey', DOMAIN, '--dry-run']), [{ uuid: DOMAIN, damaged: [] }]);
  t.notOk(await opensAll(old, site), 'a dry run writes nothing');
  const rekeyed = await host.run(['rekey', '--all']);
  t.match(rekeyed, { status: 0, stderr: /in the clear any more: .*take `encryption\.accept_plain` out/ });
  t.ok(await opensAll(old, site));

  // The key is changed: both are known, then only the new one is written for.
  await writeFile(both, (await readFile(old.file, 'utf8')) + (await readFile(next.file, 'utf8')), {
    mode: 0o600,
  });
  await agent.stop();
  await host.configure({ encryption: { recipients: [next.recipient], identity_file: both } });
  agent = await host.startAgent(t);
  await guest.write(FIRST);
  const head = await volume.waitForHead(await guest.permall());
  const [done] = (await host.runJson(['rekey', '--all'])) as { rewritten: number; already: number }[];
  t.ok((done?.rewritten ?? 0) >= 3 && (done?.already ?? 0) >= 1, JSON.stringify(done));
  t.ok(await opensAll(next, site));
  t.equal(await openByHand(old, volume.archive(head), MEMBER), undefined);
  t.match(await host.runJson(['rekey', '--all']), [{ rewritten: 0, unopened: 0 }]);
  await guest.write(SECOND);
  await volume.waitForHead(await guest.permall());
  await guest.stop();
  t.match(await host.runJson(['verify', '--all']), [{ unopened: 0, damaged: [], problems: [] }]);

  // Who has the old key alone is refused.
  const late = await site.host('kvm-late', {
    encryption: { recipients: [old.recipient], identity_file: old.file },
  });
  await isRefused(t, late, {
    status: 3,
    code: 'KEY_MISSING',
    says: /encrypted for recipients/,
    next: /identity_file/,
  });
  // What it cannot open is not damaged, and no snapshot of it goes without a word.
  const story = (await late.runJson(['history', DOMAIN])) as object[];
  t.match(story[0], { head: true, unopened: { code: 'KEY_MISSING' } });
  t.ok(story.every((line) => !('damage' in line)));
  t.match(await mustRun(late, ['history', DOMAIN]), / head, no key here\n/);
  t.match(await mustRun(late, ['snapshot', 'list', DOMAIN]), /^SNAPSHOT .*\nplain .* no key here\n$/);
  const deleted = await late.run(['snapshot', 'delete', DOMAIN, 'plain']);
  t.match(deleted, { status: 2, stderr: /CONFIRMATION_NEEDED: .* cannot be read here\n/ });

  const { status, stderr } = await late.run(['rekey', '--all']);
  t.equal(status, 3);
  t.match(
    stderr,
    /KEY_MISSING: \d+ files are encrypted for keys that this host has not\n {2}add the old key/,
  );
  for (const secret of [old.identity, next.identity]) {
    t.notOk(agent.log.includes(secret), 'no key in the log');
  }

  // Back in time, away and back, another domain: each with encrypted generations.
  await mustRun(host, ['snapshot', 'revert', DOMAIN, 'plain']);
  await mustRun(host, ['clone', DOMAIN, OTHER_DOMAIN]);
  const [sealed, clear] = [join(site.base, 'sealed'), join(site.base, 'clear.tar.gz')];
  await mustRun(host, ['export', DOMAIN, sealed, '--encrypt']);
  await mustRun(host, ['export', DOMAIN, clear]);
  t.equal((await runCommand('tar', ['-tzf', clear])).status, 0);
  t.ok(await openByHand(next, sealed, MEMBER));
  await mustRun(host, ['import', sealed, '--yes']);
  await mustRun(host, ['rollback', DOMAIN, String(first.slot)]);
  t.equal((await host.run(['import', clear, '--as', OTHER_DOMAIN])).status, 2, 'asks before it replaces');
  t.match(await host.runJson(['history', OTHER_DOMAIN]), [{ reason: 'clone', head: true }]);
  const again = await Guest.start(t, host);
  t.ok((await again.read(FIRST.length)).length === FIRST.length);
});

t.test(
  'G6: a changed head is damaged, with a key for it; by policy the start goes on with the one before',
  async (t) => {
    const site = await Site.create(t);
    const own = await makeKey(site.base, 'own');
    const encryption = { recipients: [own.recipient], identity_file: own.file };
    const host = await site.host('kvm-a', { encryption });
    const guest = await Guest.start(t, host);
    await guest.keep(FIRST);
    await mustRun(host, ['capture', DOMAIN]);
    await guest.write(SECOND);
    await guest.stop();
    const volume = site.volumeOf(guest);
    const archive = volume.archive(await volume.expectHead());
    const data = await readFile(archive);
    data[data.length - 40] = (data[data.length - 40] ?? 0) ^ 1;
    await writeFile(archive, data);
    const strict = await site.host('kvm-b', { encryption });
    await isRefused(t, strict, { status: 5, code: 'GENERATION_DAMAGED', says: /damaged/, next: /verify/ });
    const lenient = await site.host('kvm-c', { encryption, start: { damaged_head: 'previous' } });
    const restored = await Guest.start(t, lenient);
    t.strictSame(await restored.read(FIRST.length), FIRST);
  },
);

t.test('what a killed agent had not stored yet is encrypted by the one after it', async (t) => {
  const site = await Site.create(t);
  const own = await makeKey(site.base, 'own');
  const host = await site.host('kvm-a', {
    encryption: { recipients: [own.recipient], identity_file: own.file },
  });
  const agent = await host.startAgent(t);
  const guest = await Guest.start(t, host);
  await guest.keep(FIRST);
  const volume = site.volumeOf(guest);
  await volume.waitForHead(await guest.permall());
  await agent.kill();
  await guest.write(SECOND);
  await guest.swtpm.stop();
  await host.expireLocks();
  await host.startAgent(t);
  await mustRun(host, ['domain', 'stopped', DOMAIN]);
  const head = await volume.waitForHead(await guest.permall());
  t.strictSame(await openByHand(own, volume.archive(head), MEMBER), await guest.permall());
});

t.test('encryption ends: everything is written in the clear again, but only on demand', async (t) => {
  const site = await Site.create(t);
  const own = await makeKey(site.base, 'own');
  const host = await site.host('kvm-a', {
    encryption: { recipients: [own.recipient], identity_file: own.file },
  });
  const guest = await Guest.start(t, host);
  await guest.keep(FIRST);
  await guest.stop();
  await mustRun(host, ['snapshot', 'create', DOMAIN, 'sealed']);
  t.ok(await opensAll(own, site));
  t.match(await host.run(['rekey', '--all', '--decrypt']), { status: 2, stderr: /expected to be empty/ });
  await host.configure({ encryption: { recipients: [], identity_file: own.file } });
  t.match(await host.run(['rekey', '--all']), { status: 2, stderr: /say --decrypt if that is meant/ });
  t.ok(await opensAll(own, site), 'nothing was written');
  t.match(await host.runJson(['rekey', '--all', '--decrypt']), [{ uuid: DOMAIN, already: 0, damaged: [] }]);
  const volume = site.volume(DOMAIN);
  const plain = await runCommand('tar', ['-xzOf', volume.archive(await volume.expectHead()), MEMBER]);
  t.strictSame(plain.stdout, await guest.permall());
  const restored = await Guest.start(t, await site.host('kvm-keyless'));
  t.strictSame(await restored.read(FIRST.length), FIRST);
});

t.test('a share takes only what is encrypted for its owner, until the owner says otherwise', async (t) => {
  const site = await Site.create(t);
  const owner = await makeKey(site.base, 'owner');
  const share = join(site.base, 'owned');
  const host = await site.host('kvm-a', { '': { share } });
  await mustRun(host, ['share', 'init', share, '--escrow', owner.recipient]);
  t.match(await host.runJson(['share', 'escrow']), { escrow: owner.recipient });
  const guest = await Guest.startUnannounced(t, host);
  await guest.keep(FIRST);
  const refused = await host.run(['domain', 'prepare', DOMAIN]);
  t.not(refused.status, 0, 'nothing goes there in the clear');
  t.match(refused.stderr, owner.recipient);
  t.match(await mustRun(host, ['share', 'escrow', '--none']), 'demands no encryption');
  await mustRun(host, ['domain', 'prepare', DOMAIN]);
  t.match(await host.runJson(['history', DOMAIN]), [{ reason: 'adopt', head: true }]);
});
