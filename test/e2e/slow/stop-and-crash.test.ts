/**
 * The end of a VM's run, in good order and without a word: its last state is on the share, and the volume is free for the next host.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import type { HostFixture } from '../../fixtures/host.js';
import { Site } from '../../fixtures/site.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const FIRST = Buffer.from('the first value');
const LAST = Buffer.from('the final value');
const TOLD_WITHIN_MS = 30_000;

t.test(
  'G4: a stop publishes what the VM wrote immediately before it, then releases the volume',
  async (t) => {
    const site = await Site.create(t);
    const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
    await a.startAgent(t);
    const guest = await Guest.start(t, a);
    await guest.keep(FIRST);
    await guest.write(LAST);
    await guest.stop('shutdown');
    const volume = site.volumeOf(guest);
    t.strictSame(await volume.permallOf(await volume.expectHead()), await guest.permall());
    t.equal(
      (await volume.story()).at(-1),
      'release shutdown',
      'the volume is free by the time the command returns',
    );

    const elsewhere = await Guest.start(t, b);
    t.strictSame(await elsewhere.read(LAST.length), LAST);
  },
);

t.test(
  'G4: the agent notices a VM that died without a word, stores its last state and releases the volume',
  async (t) => {
    const site = await Site.create(t, { timing: { rescan: '2s' } });
    const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
    await a.startAgent(t);
    const guest = await Guest.start(t, a, { qemu: true });
    await guest.keep(FIRST);
    await guest.write(LAST);
    await guest.crash();
    const volume = site.volumeOf(guest);
    await volume.waitForTop('release');
    t.strictSame(await volume.permallOf(await volume.expectHead()), await guest.permall());
    t.equal((await volume.story()).at(-1), 'release not-seen-to-stop');
    const elsewhere = await Guest.start(t, b);
    t.strictSame(await elsewhere.read(LAST.length), LAST);
  },
);

t.test(
  'G4: a VM that died together with its agent is stored by the next agent, and released by a word',
  async (t) => {
    const site = await Site.create(t, { timing: { rescan: '1s' } });
    const a = await site.host('kvm-a');
    const agent = await a.startAgent(t);
    const guest = await Guest.start(t, a);
    await guest.keep(FIRST);
    await site.volumeOf(guest).waitForHead(await guest.permall());
    await agent.kill();
    await guest.write(LAST);
    await guest.crash();
    await a.expireLocks();
    await a.startAgent(t);
    const volume = site.volumeOf(guest);
    await volume.waitForHead(await guest.permall());
    await expectTpmDead(a, /nobody said/);
    await mustRun(a, ['domain', 'stopped', DOMAIN]);
    t.match((await volume.story()).at(-1), /^release/);
  },
);

t.test('G3: a swtpm that dies under its QEMU is told, and nobody else gets its volume', async (t) => {
  const site = await Site.create(t, { timing: { rescan: '1s' } });
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  const agent = await a.startAgent(t);
  const guest = await Guest.start(t, a, { qemu: true });
  await guest.keep(FIRST);
  await guest.write(LAST);
  await guest.swtpm.kill();
  await expectTpmDead(a, /its guest runs on/);
  const volume = site.volumeOf(guest);
  await volume.waitForHead(await guest.permall());
  t.match(await a.runJson(['status', DOMAIN]), { domains: [{ state: 'running', behind: null, lagMs: 0 }] });
  const elsewhere = await b.run(['domain', 'prepare', DOMAIN]);
  t.match(elsewhere, { status: 3, stderr: /HELD_ELSEWHERE/ }, 'its QEMU runs here');
  const again = await a.run(['domain', 'prepare', DOMAIN]);
  t.match(again, { status: 3, stderr: /DOMAIN_RUNNING/ }, 'nor is it started twice here');

  await agent.kill();
  await a.expireLocks();
  t.match(
    await a.runJson(['status', DOMAIN]),
    { domains: [{ state: 'running', attention: [{ code: 'TPM_DEAD' }] }] },
    'told without an agent, too',
  );
  await a.startAgent(t);
  await expectTpmDead(a, /its guest runs on/);
  t.notMatch((await volume.story()).at(-1), /^release/, 'another agent believes no less');
  await guest.endQemu();
  await volume.waitForTop('release');
});

async function expectTpmDead(host: HostFixture, message: RegExp): Promise<void> {
  const isTold = async (): Promise<true | undefined> => {
    const { stdout } = await host.run(['status', '--json', DOMAIN]);
    return stdout.includes('"TPM_DEAD"') && message.test(stdout) ? true : undefined;
  };
  await waitUntil('TPM_DEAD to be told', TOLD_WITHIN_MS, isTold, 500);
}

t.test(
  'G4: without an agent, the next start on the same host keeps what a crashed VM had written',
  async (t) => {
    const site = await Site.create(t);
    const a = await site.host('kvm-a');
    const guest = await Guest.start(t, a);
    await guest.keep(FIRST);
    await guest.write(LAST);
    await guest.crash();
    const left = await guest.permall();

    await mustRun(a, ['domain', 'prepare', DOMAIN]);
    const volume = site.volumeOf(guest);
    t.strictSame(
      await volume.permallOf(await volume.expectHead()),
      left,
      'published before the domain starts again',
    );
    const again = await Guest.startUnannounced(t, a);
    t.strictSame(await again.read(LAST.length), LAST);
  },
);

t.test('a start that a reboot of the host interrupted gives the volume back', async (t) => {
  const site = await Site.create(t, { timing: { rescan: '1s' } });
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  const guest = await Guest.start(t, a);
  await guest.keep(FIRST);
  await guest.stop();
  const volume = site.volumeOf(guest);
  await mustRun(a, ['domain', 'prepare', DOMAIN]);

  const agent = await a.startAgent(t);
  t.match(
    await a.runJson(['status', DOMAIN]),
    { domains: [{ state: 'prepared' }] },
    'its hooks may be to come',
  );
  await agent.kill();
  const record = join(a.stateDirectory, 'journal', `${DOMAIN}.json`);
  const ofEarlierBoot = (await readFile(record, 'utf8')).replace(
    /"bootId": "[^"]+"/,
    '"bootId": "an earlier one"',
  );
  await writeFile(record, ofEarlierBoot);
  await a.startAgent(t);
  await volume.waitForTop('release');
  t.equal((await volume.story()).at(-1), 'release host-restarted');
  t.strictSame(await (await Guest.start(t, b)).read(FIRST.length), FIRST);
});
