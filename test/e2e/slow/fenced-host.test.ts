/**
 * A host that lost a volume and whose VM comes back to it.
 */
import t from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';

t.test('G4: a fenced host begins anew from the head, and keeps what it had', async (t) => {
  const site = await Site.create(t);
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  await a.startAgent(t);
  const onA = await Guest.start(t, a);
  await onA.keep(Buffer.from('of host A'));
  const volume = site.volumeOf(onA);
  await volume.waitForHead(await onA.permall());
  await mustRun(b, ['take-over', DOMAIN, '--force']);
  const onB = await Guest.start(t, b);
  await onB.write(Buffer.from('of host B'));
  await onA.write(Buffer.from('A is late'));
  await volume.waitForDiverged(await onA.permall());
  await onA.stop('destroyed');
  await onB.stop('shutdown');

  const again = await Guest.start(t, a);
  t.strictSame(await again.read(9), Buffer.from('of host B'));
  await again.write(Buffer.from('A, again '));
  await volume.waitForHead(await again.permall());
  t.match(await a.runJson(['status']), { domains: [{ state: 'running', attention: [] }] });
});
