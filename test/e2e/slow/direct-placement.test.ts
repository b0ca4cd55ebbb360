/**
 * `placement = "direct"`: swtpm works on the share itself, and yet what counts is what was published.
 */
import { existsSync } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import type { HostFixture } from '../../fixtures/host.js';
import { Site } from '../../fixtures/site.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const SIZE = 64;
const SWEEP_TIMEOUT_MS = 60_000;
const DIRECT = { '': { placement: 'direct' }, timing: { start_deadline: '60s' } };

function value(text: string): Buffer {
  const buffer = Buffer.alloc(SIZE, ' ');
  buffer.write(text);
  return buffer;
}

/** A domain that has a TPM with the guest's index in it, and is stopped. */
async function settle(t: Test, host: HostFixture): Promise<void> {
  const first = await Guest.start(t, host);
  t.notOk((await lstat(host.tpmDirectory(DOMAIN))).isSymbolicLink(), 'a new TPM begins on this host');
  await first.keep(value('first'));
  await first.stop();
}

async function runsOf(site: Site): Promise<string[]> {
  return await readdir(join(site.share, 'volumes', DOMAIN, 'live')).catch(() => []);
}

async function placementOn(host: HostFixture): Promise<unknown> {
  const { domains } = (await host.runJson(['status'])) as { domains: { placement: string }[] };
  return domains[0]?.placement;
}

t.test(
  'from its second start on, swtpm works on the share, and every change becomes a generation',
  async (t) => {
    const site = await Site.create(t, DIRECT);
    const host = await site.host('kvm-a');
    await host.startAgent(t);
    await settle(t, host);
    t.equal(await placementOn(host), 'mirror');

    const second = await Guest.start(t, host);
    const link = await readlink(host.tpmDirectory(DOMAIN));
    const [run] = await runsOf(site);
    t.equal(link, join(site.share, 'volumes', DOMAIN, 'live', run ?? '', 'tpm2'));
    t.notOk((await lstat(dirname(host.tpmDirectory(DOMAIN)))).isSymbolicLink(), 'never <uuid> itself');
    t.equal(await placementOn(host), 'direct');
    t.strictSame(await second.read(SIZE), value('first'));
    await second.write(value('second'));
    const volume = site.volumeOf(second);
    await volume.waitForHead(await second.permall());

    await second.write(value('third'));
    await second.stop();
    t.notOk(existsSync(host.tpmDirectory(DOMAIN)), 'libvirt finds nothing to delete');
    t.strictSame(await runsOf(site), []);
    t.strictSame(await (await Guest.start(t, host)).read(SIZE), value('third'));
  },
);

t.test('G4: what was written while no agent ran is published when the domain starts again', async (t) => {
  const site = await Site.create(t, DIRECT);
  const host = await site.host('kvm-a');
  const agent = await host.startAgent(t);
  await settle(t, host);
  const second = await Guest.start(t, host);
  await agent.kill();
  await second.write(value('unseen'));
  const state = await second.permall();
  await second.crash();

  await host.startAgent(t);
  const third = await Guest.start(t, host);
  t.strictSame(await third.read(SIZE), value('unseen'));
  t.ok(await site.volumeOf(third).hasPublished(state), 'before the guest writes anything newer');
  await third.write(value('seen'));
  await waitUntil('what the crash left on the share to be swept', SWEEP_TIMEOUT_MS, async () =>
    (await runsOf(site)).length === 1 ? true : undefined,
  );
  t.strictSame(await third.read(SIZE), value('seen'));
});

t.test(
  'G3, G5: the swtpm of a host that lost the volume writes where nobody reads for the head',
  async (t) => {
    const site = await Site.create(t, DIRECT);
    const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
    const agentA = await a.startAgent(t);
    await b.startAgent(t);
    await settle(t, a);
    const onA = await Guest.start(t, a);
    const volume = site.volumeOf(onA);
    await onA.write(value('published by A'));
    await volume.waitForHead(await onA.permall());

    await agentA.kill();
    await onA.write(value('never published by A'));
    const lost = await onA.permall();
    const onB = await Guest.start(t, b);
    t.strictSame(await onB.read(SIZE), value('published by A'), 'what was published is the truth');
    await volume.waitForDiverged(lost);

    await onB.write(value('of B'));
    await volume.waitForHead(await onB.permall());
    await onA.write(value('of A, too late')).catch(() => undefined);
    await onB.write(value('of B, later'));
    t.equal((await volume.waitForHead(await onB.permall())).host, 'kvm-b');
    await onB.stop();
    await onA.crash();
    t.strictSame(await (await Guest.start(t, b)).read(SIZE), value('of B, later'));
  },
);

t.test('G7: a start that fails afterwards leaves no link and nothing on the share', async (t) => {
  const site = await Site.create(t, DIRECT);
  const host = await site.host('kvm-a');
  await settle(t, host);
  await mustRun(host, ['domain', 'prepare', DOMAIN]);
  t.ok((await lstat(host.tpmDirectory(DOMAIN))).isSymbolicLink());
  await mustRun(host, ['domain', 'stopped', DOMAIN, '--reason', 'failed']);
  t.notOk(existsSync(host.tpmDirectory(DOMAIN)));
  t.strictSame(await runsOf(site), []);
});
