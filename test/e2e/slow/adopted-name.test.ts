/**
 * A VM that runs already when the agent comes: what libvirt knows of it stands in its first generation.
 */
import t from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { libvirtWithoutDaemon } from '../../fixtures/libvirt-without-daemon.js';
import { Site } from '../../fixtures/site.js';

t.test('the first generation of an adopted VM has its name', async (t) => {
  const site = await Site.create(t);
  const uri = await libvirtWithoutDaemon(site.base, DOMAIN, 'web-1', 'none');
  const host = await site.host('kvm-a', { libvirt: { uri } });
  const guest = await Guest.startUnannounced(t, host);
  await guest.keep(Buffer.from('named'));
  await host.startAgent(t);
  const volume = site.volumeOf(guest);
  await volume.waitForHead(await guest.permall());
  t.match(await host.runJson(['status']), { domains: [{ uuid: DOMAIN, name: 'web-1', state: 'running' }] });
  t.match(await mustRun(host, ['history', 'web-1', '--all-hosts']), / adopt /);
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
