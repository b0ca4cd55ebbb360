/**
 * Who a host is, with the built program: a host that is renamed, two machines with one state directory, and heartbeats whose times are wrong.
 */
import { cp, readdir, rename, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DOMAIN, Guest, mustRun, OTHER_DOMAIN } from '../../fixtures/guest.js';
import { HostFixture, SHORT_TIMINGS } from '../../fixtures/host.js';
import { Site } from '../../fixtures/site.js';
import type { TestScope } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const SIZE = 64;
const PATIENCE_MS = 60_000;
const YEAR_S = 365 * 24 * 3600;
const NEW_NAME = 'kvm-a.example.org';

interface Item {
  readonly code: string;
  readonly message: string;
}

interface Shown {
  readonly share: { readonly state: string };
  readonly attention: readonly Item[];
  readonly domains: readonly {
    readonly state: string;
    readonly pending: string;
    readonly attention: readonly Item[];
  }[];
}

function value(text: string): Buffer {
  return Buffer.from(text.padEnd(SIZE));
}

async function statusOf(host: HostFixture): Promise<Shown> {
  return (await host.runJson(['status'])) as Shown;
}

async function until(host: HostFixture, what: string, holds: (shown: Shown) => boolean): Promise<Shown> {
  return await waitUntil(what, PATIENCE_MS, async () => {
    const shown = await statusOf(host);
    return holds(shown) ? shown : undefined;
  });
}

function says(shown: Shown, code: string): Item | undefined {
  return shown.attention.find((item) => item.code === code);
}

async function hostNames(site: Site): Promise<string[]> {
  const names = await readdir(join(site.share, 'hosts'));
  return names.filter((name) => name.startsWith('kvm')).sort();
}

t.test('G3, G4, G5: a renamed host goes on with its VM and with what it had spooled', async (t) => {
  const site = await Site.create(t, { timing: { rescan: '500ms', retry_max: '500ms' } });
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  let agent = await a.startAgent(t);
  await b.startAgent(t);
  const guest = await Guest.start(t, a);
  await guest.keep(value('on the share'));
  const volume = site.volumeOf(guest);
  await volume.waitForHead(await guest.permall());

  await rename(site.share, `${site.share}.away`);
  await guest.write(value('in the spool'));
  await until(a, 'the change to be in the spool', ({ domains }) => domains[0]?.pending === 'spooled');
  await agent.stop();
  await rename(`${site.share}.away`, site.share);
  await a.configure({ '': { host: NEW_NAME }, timing: { rescan: '500ms', retry_max: '500ms' } });
  agent = await a.startAgent(t);

  const head = await volume.waitForHead(await guest.permall());
  t.equal(head.host, NEW_NAME);
  // A reading that is under way counts as something pending until it has found nothing new.
  await until(a, 'nothing to be pending', ({ domains }) => domains[0]?.pending === 'none');
  const shown = await statusOf(a);
  t.match(shown.domains[0], { state: 'running', attention: [] });
  t.match(says(shown, 'HOST_RENAMED')?.message, /was kvm-a and is kvm-a\.example\.org/);
  await waitUntil('the former name to be taken away', PATIENCE_MS, async () =>
    (await hostNames(site)).includes('kvm-a') ? undefined : true,
  );
  t.strictSame(await hostNames(site), [NEW_NAME, 'kvm-b']);

  const refused = await b.run(['domain', 'prepare', DOMAIN], { timeoutMs: PATIENCE_MS });
  t.match(refused.stderr, /HELD_ELSEWHERE: .*host kvm-a\.example\.org, which is alive/);

  await guest.write(value('after it'));
  await volume.waitForHead(await guest.permall());
  await agent.stop();
  await a.startAgent(t);
  t.notOk(says(await statusOf(a), 'HOST_RENAMED'), 'it is told once');
  await guest.write(value('and later'));
  await volume.waitForHead(await guest.permall());
});

/** A second machine with everything that the first one keeps. */
async function twinOf(host: HostFixture, base: string): Promise<HostFixture> {
  const settings = { '': { host: host.name } };
  const twin = await HostFixture.create({ name: 'twin', base, share: host.share, settings });
  await cp(host.stateDirectory, twin.stateDirectory, { recursive: true });
  await cp(host.runDirectory, twin.runDirectory, {
    recursive: true,
    filter: (path) => !/\.(sock|lock)$/.test(path),
  });
  return twin;
}

t.test('G4: two machines with one state directory find each other, and neither starts a VM', async (t) => {
  const site = await Site.create(t);
  const a = await site.host('kvm-a');
  await a.startAgent(t);
  const guest = await Guest.start(t, a);
  await guest.keep(value('of the first'));
  await site.volumeOf(guest).waitForHead(await guest.permall());

  const twin = await twinOf(a, site.base);
  const agent = await twin.startAgent(t);
  for (const host of [a, twin]) {
    const shown = await until(
      host,
      'it to know its double',
      (status) => says(status, 'HOST_DOUBLED') !== undefined,
    );
    t.match(
      says(shown, 'HOST_DOUBLED')?.message,
      /two machines run under the identity .* \(boot [0-9a-f-]{36}\)/,
    );
  }
  for (const [host, uuid] of [
    [twin, DOMAIN],
    [twin, OTHER_DOMAIN],
    [a, OTHER_DOMAIN],
  ] as const) {
    const refused = await host.run(['domain', 'prepare', uuid], { timeoutMs: PATIENCE_MS });
    t.equal(refused.status, 3, refused.stderr);
    t.match(refused.stderr, /HOST_DOUBLED|HELD_ELSEWHERE/);
  }
  const before = await site.volumeOf(guest).entries();
  t.ok(before.filter((entry) => entry.kind === 'claim').length === 1, 'the volume is claimed once');
  await guest.write(value('of the first, later'));
  await site.volumeOf(guest).waitForHead(await guest.permall());

  await agent.stop();
  await until(a, 'it to be alone', (status) => says(status, 'HOST_DOUBLED') === undefined);
  await mustRun(a, ['domain', 'prepare', OTHER_DOMAIN]);

  await twin.configure({ '': { host: 'kvm-twin' } });
  const told = await mustRun(twin, ['host', 'separate']);
  t.match(told, /this host is [0-9a-f]{32}, called kvm-twin/);
  await twin.startAgent(t);
  await until(twin, 'the copy to be a host of its own', ({ share }) => share.state === 'online');
  const refused = await twin.run(['domain', 'prepare', DOMAIN], { timeoutMs: PATIENCE_MS });
  t.match(refused.stderr, /HELD_ELSEWHERE: .*host kvm-a, which is alive/);
  await guest.write(value('to the end'));
  await site.volumeOf(guest).waitForHead(await guest.permall());
});

async function deadHost(t: TestScope, settings: Record<string, Record<string, string>>) {
  const site = await Site.create(t, settings);
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  const agent = await a.startAgent(t);
  const guest = await Guest.start(t, a);
  await guest.keep(value('of kvm-a'));
  await site.volumeOf(guest).waitForHead(await guest.permall());
  return { site, a, b, agent, guest };
}

async function touch(site: Site, aheadS: number): Promise<void> {
  const when = Date.now() / 1000 + aheadS;
  await utimes(join(site.share, 'hosts/kvm-a/heartbeat'), when, when);
}

t.test('G4: no time of a heartbeat keeps a dead host alive, and none kills a living one', async (t) => {
  const kinds = { auto: [YEAR_S], observed: [3600, -YEAR_S] };
  for (const [age, skews] of Object.entries(kinds)) {
    for (const aheadS of skews) {
      const { site, a, b, agent, guest } = await deadHost(t, { storage: { heartbeat_age: age } });
      await b.startAgent(t);
      if (age === 'observed') {
        const ends = Date.now() + 2 * 2000;
        while (Date.now() < ends) {
          await touch(site, aheadS);
          const { stderr } = await b.run(['domain', 'prepare', DOMAIN], { timeoutMs: PATIENCE_MS });
          t.match(stderr, /HELD_ELSEWHERE/, `${String(aheadS)} s, alive`);
        }
      }
      await guest.crash();
      await agent.kill();
      await touch(site, aheadS);
      if (age === 'auto') {
        const { stdout } = await b.run(['doctor'], { timeoutMs: PATIENCE_MS });
        t.match(stdout, /heartbeats: 1 heartbeat lies in the future .* kvm-a by/);
      }
      const onB = await Guest.start(t, b);
      t.same(await onB.read(SIZE), value('of kvm-a'), `${age}, ${String(aheadS)} s, dead`);
      await onB.stop();
      await a.expireLocks();
    }
  }
});

t.test('a command without an agent waits for one expiry where no clock tells, and says so', async (t) => {
  const { b, agent, guest } = await deadHost(t, { storage: { heartbeat_age: 'observed' } });
  await guest.crash();
  await agent.kill();
  const began = Date.now();
  const { status, stderr } = await b.run(['take-over', DOMAIN], { timeoutMs: PATIENCE_MS });
  t.equal(status, 0, stderr);
  t.match(stderr, /watching host kvm-a for 2/);
  t.ok(Date.now() - began >= 2000, SHORT_TIMINGS.host_expiry);
});
