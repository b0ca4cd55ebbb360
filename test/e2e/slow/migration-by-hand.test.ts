/**
 * A live migration between hosts without libvirt: whoever moves the VM tells both ends.
 */
import { copyFile, mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { DOMAIN, Guest, mustRun, PERMALL } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const VALUE = Buffer.from('moved along');
const LATER = Buffer.from('changed her');

t.test(
  'G4: an incoming domain restores nothing, and its volume follows it when it has arrived',
  async (t) => {
    const site = await Site.create(t);
    const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
    await a.startAgent(t);
    await b.startAgent(t);
    const source = await Guest.start(t, a);
    await source.keep(VALUE);

    await mustRun(b, ['domain', 'prepare', DOMAIN, '--name', 'web-1', '--incoming']);
    t.strictSame(await readdir(b.swtpmDirectory), [], 'nothing is restored: the state comes with the VM');
    t.match(await a.runJson(['history', DOMAIN, '--all']), [{ host: 'kvm-a' }], 'and nothing is claimed');

    // What QEMU does with the state of the TPM.
    await source.swtpm.stop();
    const arrived = b.tpmDirectory(DOMAIN);
    await mkdir(dirname(arrived), { mode: 0o711 });
    await mkdir(arrived, { mode: 0o700 });
    await copyFile(join(a.tpmDirectory(DOMAIN), PERMALL), join(arrived, PERMALL));
    const target = await Guest.startUnannounced(t, b);
    await mustRun(a, ['domain', 'stopped', DOMAIN, '--reason', 'migrated']);
    await mustRun(b, ['domain', 'started', DOMAIN]);

    await target.write(LATER);
    const volume = site.volumeOf(target);
    await volume.waitForHead(await target.permall());
    t.equal((await volume.expectHead()).host, 'kvm-b');
    await waitUntil('kvm-b to hold the volume', 20_000, async () => {
      const { domains } = (await b.runJson(['status'])) as { domains: { holder: { host: string } | null }[] };
      return domains[0]?.holder?.host === 'kvm-b' ? true : undefined;
    });
    await target.stop();
    const back = await Guest.start(t, a);
    t.strictSame(await back.read(LATER.length), LATER);
  },
);
