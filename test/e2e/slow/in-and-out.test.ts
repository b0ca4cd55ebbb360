/**
 * State that leaves a share as a file and comes into another one: what the TPM remembers there is read from a real swtpm.
 */
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DOMAIN, Guest, mustRun, OTHER_DOMAIN, PERMALL } from '../../fixtures/guest.js';
import type { HostFixture } from '../../fixtures/host.js';
import { runChecked } from '../../fixtures/process.js';
import { Site } from '../../fixtures/site.js';
import type { TestScope } from '../../fixtures/temporary-directory.js';

const SECRET = Buffer.from('exported');

/** A host with a stopped domain, and one on another share. */
async function twoSites(t: TestScope): Promise<{ here: Site; host: HostFixture; there: HostFixture }> {
  const here = await Site.create(t);
  const host = await here.host('kvm-a');
  const guest = await Guest.start(t, host);
  await guest.keep(SECRET);
  await guest.stop();
  return { here, host, there: await (await Site.create(t)).host('kvm-z') };
}

async function remembers(t: TestScope, host: HostFixture, uuid: string): Promise<string> {
  const guest = await Guest.start(t, host, { uuid });
  const value = await guest.read(SECRET.length);
  await guest.stop();
  return value.toString();
}

t.test('an export is one private file that tar opens, and becomes the head of another share', async (t) => {
  const { here, host, there } = await twoSites(t);
  const file = join(here.base, 'vm.tar.gz');
  t.equal(await mustRun(host, ['export', DOMAIN, file]), `${file}\n`);
  t.equal((await stat(file)).mode & 0o777, 0o600);
  const head = await here.volume(DOMAIN).expectHead();
  const inside = await runChecked('tar', ['-xzOf', file, `tpm2/${PERMALL}`]);
  t.strictSame(inside, await here.volume(DOMAIN).permallOf(head));
  const again = await host.run(['export', DOMAIN, file]);
  t.equal(again.status, 2, 'no file is overwritten');

  // Into an OVA as a member, and out again.
  const appliance = join(here.base, 'vm.ova');
  await writeFile(join(here.base, 'vm.ovf'), '<Envelope/>');
  await runChecked('tar', ['-C', here.base, '-cf', appliance, 'vm.ovf', 'vm.tar.gz']);
  const whole = await there.run(['import', appliance]);
  t.match(whole, { status: 2, stderr: /USAGE: .*\n {2}.*OVA.*`tar xf`/ });
  await rm(file);
  await runChecked('tar', ['-C', here.base, '-xf', appliance, 'vm.tar.gz']);

  t.match(await there.runJson(['import', file]), { uuid: DOMAIN, generation: 2, before: 0, kept: null });
  t.equal(await remembers(t, there, DOMAIN), SECRET.toString());
  const occupied = await there.run(['import', file]);
  t.equal(occupied.status, 2, occupied.stderr);
  t.match(occupied.stderr, /^swtpm-mirror: CONFIRMATION_NEEDED: .*\n {2}.*--yes\n$/);
  t.match(await there.runJson(['import', file, '--yes']), { uuid: DOMAIN, kept: /^before-import-/ });

  const copy = await there.run(['import', file, '--as', OTHER_DOMAIN]);
  t.equal(copy.status, 0, copy.stderr);
  t.match(copy.stderr, /the same TPM as that of .*endorsement key/);
  t.equal(await remembers(t, there, OTHER_DOMAIN), SECRET.toString());
});

t.test("oVirt's data and libvirt's metadata carry the state, too", async (t) => {
  const { here, host, there } = await twoSites(t);
  const ovirt = join(here.base, 'tpm.txt');
  await mustRun(host, ['export', DOMAIN, ovirt, '--format', 'ovirt']);
  const tar = Buffer.from(await readFile(ovirt, 'utf8'), 'base64');
  t.match((await runChecked('tar', ['-tJ'], { input: tar })).toString(), `./tpm2/${PERMALL}`);
  const nameless = await there.run(['import', ovirt]);
  t.equal(nameless.status, 2, nameless.stderr);
  t.match(nameless.stderr, /--as/);
  await mustRun(there, ['import', ovirt, '--as', DOMAIN]);
  t.equal(await remembers(t, there, DOMAIN), SECRET.toString());

  const element = join(here.base, 'state.xml');
  await mustRun(host, ['export', DOMAIN, element, '--format', 'metadata']);
  const xml = join(here.base, 'domain.xml');
  await writeFile(xml, `<domain><metadata>${await readFile(element, 'utf8')}</metadata></domain>`);
  await mustRun(there, ['import', xml, '--as', OTHER_DOMAIN]);
  t.equal(await remembers(t, there, OTHER_DOMAIN), SECRET.toString());
});

t.test('G6: a file that is not whole is refused before anything is touched', async (t) => {
  const { here, host, there } = await twoSites(t);
  const file = join(here.base, 'vm.tar.gz');
  await mustRun(host, ['export', DOMAIN, file]);
  const data = await readFile(file);
  for (const [name, bad] of [
    ['cut', data.subarray(0, data.length / 2)],
    ['flipped', Buffer.from(data.map((byte, at) => (at === 700 ? byte ^ 4 : byte)))],
  ] as const) {
    const path = join(here.base, name);
    await writeFile(path, bad);
    const { status, stderr } = await there.run(['import', path, '--as', DOMAIN]);
    t.equal(status, 5, `${name}: ${stderr}`);
    t.match(stderr, /^swtpm-mirror: (GENERATION_DAMAGED|STATE_INVALID): .+\n {2}.+\n$/);
  }
  t.equal((await there.run(['history', DOMAIN])).status, 6, 'no volume was made');
  const missing = await there.run(['import', join(here.base, 'none')]);
  t.equal(missing.status, 1, missing.stderr);
  t.match(missing.stderr, /\n {2}.*correct the path/);
  for (const [name, text] of [
    ['nothing', ''],
    ['passwords', 'root:x:0:0:root:/root:/bin/bash\n'],
  ] as const) {
    await writeFile(join(here.base, name), text);
    const foreign = await there.run(['import', join(here.base, name), '--as', DOMAIN]);
    t.match(foreign, { status: 2, stderr: /^swtpm-mirror: USAGE: .* is nothing that `export` writes/ });
  }
});
