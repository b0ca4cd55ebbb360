/**
 * A VM that runs already when the agent comes: what libvirt knows of it stands in its first generation.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { libvirtWithoutDaemon } from '../../fixtures/libvirt-without-daemon.js';
import { Site } from '../../fixtures/site.js';

t.test('the first generation of an adopted VM has its name and its NVRAM', async (t) => {
  const site = await Site.create(t);
  const nvram = join(site.base, 'web-1_VARS.fd');
  await writeFile(nvram, 'the boot entries');
  const uri = await libvirtWithoutDaemon(site.base, { uuid: DOMAIN, name: 'web-1', nvram });
  const host = await site.host('kvm-a', { libvirt: { uri, nvram: true } });
  const guest = await Guest.startUnannounced(t, host);
  await guest.keep(Buffer.from('named'));
  await host.startAgent(t);
  await site.volumeOf(guest).waitForTop('publish');
  t.match(await host.runJson(['status']), { domains: [{ uuid: DOMAIN, name: 'web-1', state: 'running' }] });
  const generations = (await host.runJson(['history', 'web-1', '--all-hosts'])) as {
    generation: number;
    reason: string;
  }[];
  const first = generations.at(-1);
  t.match(first, { reason: 'adopt' });
  const to = join(site.base, 'first');
  await mustRun(host, ['restore', 'web-1', '--generation', String(first?.generation), '--to', to]);
  t.equal(await readFile(join(to, 'nvram', 'nvram.fd'), 'utf8'), 'the boot entries');
});

t.test('a VM that nobody can name is adopted all the same', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a', { libvirt: { uri: 'test:///nowhere.xml' } });
  const guest = await Guest.startUnannounced(t, host);
  await guest.keep(Buffer.from('unnamed'));
  await host.startAgent(t);
  await site.volumeOf(guest).waitForHead(await guest.permall());
  t.match(await host.runJson(['status']), { domains: [{ uuid: DOMAIN, name: '', state: 'running' }] });
});

t.test('a VM whose metadata asks for it is left alone, though it runs', async (t) => {
  const site = await Site.create(t);
  const metadata = "<mirror xmlns='urn:swtpm-mirror:domain' enabled='no'/>";
  const uri = await libvirtWithoutDaemon(site.base, { uuid: DOMAIN, name: 'web-1', metadata });
  const host = await site.host('kvm-a', { libvirt: { uri } });
  const guest = await Guest.startUnannounced(t, host);
  await guest.keep(Buffer.from('private'));
  // An agent that has started has looked at everything that runs.
  await host.startAgent(t);
  t.match(await host.runJson(['status']), { domains: [] });
  t.strictSame(await site.volumeOf(guest).entries(), []);
});
