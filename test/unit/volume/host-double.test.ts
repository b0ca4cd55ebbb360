import * as fc from 'fast-check';
import t from 'tap';
import type { MirrorError } from '../../../src/model/errors.js';
import { BEAT_BYTES_MAX, BEAT_STEP, formatBeat } from '../../../src/model/heartbeat-text.js';
import type { HostIdentity } from '../../../src/model/host-identity.js';
import type { HostBeat, ShareStore } from '../../../src/volume/share-store.js';
import { hostNamed, instanceOf } from '../../fixtures/host-identity.js';
import { SHARE, VolumeHosts } from '../../fixtures/volume-hosts.js';
import { claimCall, claimed, EXPIRY_MS, hold, publish, tryPublish } from '../../fixtures/volume-steps.js';
import { OTHER_UUID } from '../../fakes/host-rig.js';

const HEARTBEAT_MS = 5_000;
const BEAT = { shareId: undefined };
const HEARTBEAT = `${SHARE}/hosts/kvm-a/heartbeat`;

/** One machine under an identity that others may have, too. */
function machine(name: string, differs: Partial<HostIdentity> = {}): Partial<HostIdentity> {
  const instance = instanceOf(name);
  return {
    machineId: 'the image',
    instance,
    instances: [instance, instanceOf('before the copy')],
    bootId: `boot of ${name}`,
    addresses: [`address of ${name}`],
    ...differs,
  };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => 'ok',
    (error: unknown) => (error as MirrorError).code,
  );
}

function seen({ double }: HostBeat): string | undefined {
  return double?.isSeen ? double.bootId : undefined;
}

t.test('G4: two machines under one identity find each other within a heartbeat', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1_000),
      fc.integer({ min: 0, max: 8 }),
      fc.integer({ min: 1, max: HEARTBEAT_MS - 1 }),
      async (seed, beatsBefore, phaseMs) => {
        const hosts = new VolumeHosts(seed);
        const one = hosts.start('kvm-a', { self: machine('one') }).store;
        await one.initialise({});
        for (let beat = 0; beat <= beatsBefore; beat++) {
          if (seen(await one.beat(BEAT)) !== undefined) return false;
          await hosts.pass(beat === beatsBefore ? phaseMs : HEARTBEAT_MS);
        }
        const other = hosts.start('kvm-a', { self: machine('other') }).store;
        await other.beat(BEAT);
        if ((await codeOf(other.claim(claimCall()))) !== 'HOST_DOUBLED') return false;
        await hosts.pass(HEARTBEAT_MS - phaseMs);
        const toOne = seen(await one.beat(BEAT));
        await hosts.pass(phaseMs);
        const toOther = seen(await other.beat(BEAT));
        if (toOne !== 'boot of other' || toOther !== 'boot of one') return false;
        const refused = [await codeOf(one.claim(claimCall())), await codeOf(other.claim(claimCall()))];
        return refused.every((code) => code === 'HOST_DOUBLED');
      },
    ),
    { numRuns: 40 },
  );
  t.end();
});

t.test('the refusal names the other machine', async (t) => {
  const hosts = new VolumeHosts();
  const one = hosts.start('kvm-a', { self: machine('one') }).store;
  await one.initialise({});
  await one.beat(BEAT);
  const other = hosts.start('kvm-a', { self: machine('other') }).store;
  await other.beat(BEAT);
  await one.beat(BEAT);
  await t.rejects(one.claim(claimCall()), {
    code: 'HOST_DOUBLED',
    message: /kvm-a at address of other \(boot boot of other\)/,
    next: /host separate/,
    retriable: false,
  });
});

t.test(
  'G3: a domain that runs is stored on while its host is doubled, and its double is another host',
  async (t) => {
    const hosts = new VolumeHosts();
    const one = hosts.start('kvm-a', { self: machine('one') }).store;
    await one.initialise({});
    const held = await hold(one);
    await publish(held, 1);
    // It was cut off for longer than its expiry, so that nobody could know that it lives.
    for (let at = 0; at < EXPIRY_MS; at += 1000) await hosts.pass(1000);
    const instances = ['other', 'one'].map(instanceOf);
    const other = hosts.start('kvm-a', { self: machine('other', { instances }) }).store;
    t.match(
      await other.claim(claimCall('own')),
      { kind: 'claimed' },
      'it had held the volume before the copy',
    );
    t.equal(await codeOf(other.beat(BEAT)), 'ok');
    const lost = await tryPublish(held, 2);
    t.match(lost, { kind: 'fenced', by: 'kvm-a' });
    t.equal(seen(await one.beat(BEAT)), 'boot of other');
    t.equal(await codeOf(one.claim(claimCall('own', 'recover'))), 'HOST_DOUBLED');
    for (let at = 0; at < EXPIRY_MS; at += HEARTBEAT_MS) {
      await hosts.pass(HEARTBEAT_MS);
      await one.beat(BEAT);
    }
    t.equal(seen(await one.beat(BEAT)), undefined, 'the other one is gone');
    t.match(await one.claim(claimCall('own', 'recover')), {
      kind: 'held',
      holder: { self: false, alive: false },
    });
    t.match(await one.claim(claimCall('expired', 'take-over')), { kind: 'claimed' });
  },
);

t.test('a host that comes back is itself', async (t) => {
  const boots: readonly (readonly [string, Partial<HostIdentity>, number])[] = [
    ['the same boot: an agent was restarted', { instance: instanceOf('one'), bootId: 'boot of one' }, 0],
    ['another boot of the same hardware', { hardware: 'board' }, EXPIRY_MS / 3],
    ['a boot of hardware that nothing tells', { hardware: '' }, EXPIRY_MS],
    ['its disk in other hardware, or a copy of it', { hardware: 'another board' }, EXPIRY_MS],
  ];
  for (const [name, differs, waitMs] of boots) {
    for (const downMs of [0, waitMs / 2, waitMs, EXPIRY_MS]) {
      const hosts = new VolumeHosts();
      const hardware = differs.hardware === '' ? '' : 'board';
      const { id } = hostNamed('kvm-a', { machineId: 'the image', hardware });
      const before = hosts.start('kvm-a', { self: machine('one', { id, hardware }) }).store;
      await before.initialise({});
      await claimed(before);
      await hosts.pass(downMs);
      const instance = differs.instance ?? instanceOf('two');
      const instances = [instance, instanceOf('one')];
      const self = machine('two', { id, instance, instances, hardware, ...differs });
      const now = hosts.start('kvm-a', { self }).store;
      let waitedMs = downMs;
      while ((await codeOf(now.claim(claimCall('own', 'recover')))) !== 'ok') {
        if (waitedMs > 2 * EXPIRY_MS) break;
        await hosts.pass(500);
        waitedMs += 500;
      }
      t.equal(waitedMs, Math.max(waitMs, downMs), `${name}, after ${String(downMs)} ms`);
      t.notOk(seen(await now.beat(BEAT)));
    }
  }
});

t.test('a beat of a former boot that arrives late is no double', async (t) => {
  const hosts = new VolumeHosts();
  const before = hosts.start('kvm-a', { self: machine('one') }).store;
  await before.initialise({});
  await before.beat(BEAT);
  const file = await hosts.files.open('test:open', HEARTBEAT, 'read');
  const late = await file.read('test:read', BEAT_STEP, 0);
  await hosts.pass(EXPIRY_MS);
  const now = hosts.start('kvm-a', { self: machine('two') }).store;
  await claimed(now);
  const overwritten = await hosts.files.open('test:open', HEARTBEAT, 'overwrite');
  await overwritten.write('test:write', late, 0);
  for (let beat = 0; beat < 8; beat++) {
    await hosts.pass(HEARTBEAT_MS);
    t.notOk((await now.beat(BEAT)).double);
  }
  await claimed(now, 'free', OTHER_UUID);
});

t.test('a command of this boot beats beside its agent', async (t) => {
  const hosts = new VolumeHosts();
  const agent = hosts.start('kvm-a', { self: machine('one') }).store;
  await agent.initialise({});
  for (let beat = 0; beat < 5; beat++) {
    t.notOk((await agent.beat(BEAT)).double);
    const command = hosts.start('kvm-a', { self: machine('one') }).store;
    t.notOk((await command.beat(BEAT)).double);
    await hosts.pass(HEARTBEAT_MS);
  }
  t.equal((await hosts.files.lstat('test:lstat', HEARTBEAT)).size, BEAT_STEP);
});

t.test('a command of a doubled host sees it, whoever beat last', async (t) => {
  for (const last of ['one', 'other']) {
    const hosts = new VolumeHosts();
    const one = hosts.start('kvm-a', { self: machine('one') }).store;
    await one.initialise({});
    await one.beat(BEAT);
    const other = hosts.start('kvm-a', { self: machine('other') }).store;
    await other.beat(BEAT);
    await one.beat(BEAT);
    if (last === 'other') await other.beat(BEAT);
    for (const which of ['one', 'other']) {
      const command: ShareStore = hosts.start('kvm-a', { self: machine(which) }).store;
      const code = await codeOf(command.claim(claimCall()));
      const whose = which === last ? 'its own machine' : 'the other machine';
      t.equal(code, 'HOST_DOUBLED', `a command where ${whose} beat last`);
    }
  }
});

t.test('a heartbeat grows by a step a boot, and begins anew', async (t) => {
  const hosts = new VolumeHosts();
  const first = hosts.start('kvm-a', { self: machine('0') }).store;
  await first.initialise({});
  await first.beat(BEAT);
  const sizes = new Set<number>();
  for (let boot = 1; boot < 40; boot++) {
    await hosts.pass(EXPIRY_MS);
    const { store } = hosts.start('kvm-a', { self: machine(String(boot)) });
    await claimed(store, 'free');
    await store.closeEpoch({
      kind: 'release',
      uuid: claimCall().uuid,
      epoch: 2 * boot - 1,
      slot: 2 * boot,
      reason: 'stop',
    });
    sizes.add((await hosts.files.lstat('test:lstat', HEARTBEAT)).size);
  }
  t.equal(Math.max(...sizes), BEAT_BYTES_MAX);
  t.equal(Math.min(...sizes), BEAT_STEP);
});

t.test('a heartbeat that was removed, or put in another place, is written anew', async (t) => {
  const hosts = new VolumeHosts();
  const { store } = hosts.start('kvm-a', { self: machine('one') });
  await store.initialise({});
  await store.beat(BEAT);
  await hosts.files.unlink('test:unlink', HEARTBEAT);
  for (let beat = 0; beat < 6; beat++) await store.beat(BEAT);
  t.match(await hosts.files.lstat('test:lstat', HEARTBEAT), { kind: 'file' });
});

t.test('whoever leaves takes no beat of its double away', async (t) => {
  const hosts = new VolumeHosts();
  const one = hosts.start('kvm-a', { self: machine('one') }).store;
  await one.initialise({});
  await one.beat(BEAT);
  const other = hosts.start('kvm-a', { self: machine('other') }).store;
  await other.beat(BEAT);
  await one.leave({});
  t.match(await hosts.files.lstat('test:lstat', HEARTBEAT), { kind: 'file' });
  await other.leave({});
  await t.rejects(hosts.files.lstat('test:lstat', HEARTBEAT), { code: 'ENOENT' });
});

t.test('two names under one identity are doubled, too', async (t) => {
  const hosts = new VolumeHosts();
  const { id } = hostNamed('kvm-a', { machineId: 'the image' });
  const one = hosts.start('kvm-a', { self: machine('one', { id }) }).store;
  await one.initialise({});
  await one.beat(BEAT);
  const renamed = machine('other', {
    id,
    nameBeforeId: hostNamed('kvm-a').name,
    formerNames: [hostNamed('kvm-a').name],
    leaving: [hostNamed('kvm-a').name],
  });
  const other = hosts.start('kvm-b', { self: renamed }).store;
  await other.beat(BEAT);
  t.equal(await codeOf(other.claim(claimCall())), 'HOST_DOUBLED');
  t.equal(seen(await one.beat(BEAT)), 'boot of other');
  t.equal(seen(await other.beat(BEAT)), 'boot of one');
});

t.test('a program of 0.1.0 reads the version of one that says who it is', (t) => {
  const old = /^ *[0-9TZ:.-]+ ([0-9A-Za-z.+~-]{1,32})\n$/;
  fc.assert(
    fc.property(
      fc.stringMatching(/^[0-9A-Za-z.+~-]{1,32}$/),
      fc.integer({ min: 1, max: 16 }),
      (version, steps) => {
        const { id, instance, name: host } = hostNamed('kvm-a');
        const by = { id, instance, host, bootId: 'b', hardware: '', addresses: [], beats: 1 };
        const text = formatBeat(version, { ...by, at: '2026-01-01T00:00:00.000Z' }, steps * BEAT_STEP);
        const line = Buffer.from(text).subarray(0, 64).toString('latin1');
        return text.length === steps * BEAT_STEP && old.exec(line)?.[1] === version;
      },
    ),
  );
  t.end();
});
