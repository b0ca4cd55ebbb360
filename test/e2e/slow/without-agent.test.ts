/**
 * A host without an agent, and the moments in which one starts.
 */
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { lock } from 'proper-lockfile';
import t from 'tap';
import { DOMAIN, Guest, mustRun, OTHER_DOMAIN } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';

const VALUE = Buffer.from('kept without an agent');

t.test('G4: without any agent the commands restore, publish and release as an agent does', async (t) => {
  const site = await Site.create(t);
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  const guest = await Guest.start(t, a);
  const volume = site.volumeOf(guest);
  await guest.keep(VALUE);
  t.equal(
    await mustRun(a, ['capture', DOMAIN]),
    `${(await volume.waitForHead(await guest.permall())).slot}\n`,
  );
  await guest.write(Buffer.from([...VALUE].reverse()));
  await guest.stop('shutdown');
  t.strictSame(await volume.permallOf(await volume.expectHead()), await guest.permall());
  t.equal((await volume.story()).at(-1), 'release shutdown');

  const elsewhere = await Guest.start(t, b);
  t.strictSame(await elsewhere.read(VALUE.length), Buffer.from([...VALUE].reverse()));
});

t.test('an agent that starts later goes on with a VM that was started without one', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  const guest = await Guest.start(t, host);
  await guest.keep(VALUE);
  await host.startAgent(t);
  const volume = site.volumeOf(guest);
  await volume.waitForHead(await guest.permall());
  await guest.write(Buffer.from([...VALUE].reverse()));
  await volume.waitForHead(await guest.permall());
  t.match(await host.runJson(['status']), {
    host: 'kvm-a',
    domains: [{ uuid: DOMAIN, name: 'vm-6b0c', state: 'running', holder: { host: 'kvm-a', alive: true } }],
  });
  await guest.stop();
  t.equal((await volume.story()).at(-1), 'release shutdown');
});

t.test('a status without an agent tells what of a running VM is not on the share', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  const guest = await Guest.start(t, host);
  await guest.keep(VALUE);
  const head = await mustRun(host, ['capture', DOMAIN]);
  const known = { uuid: DOMAIN, state: 'running', head: Number(head) };
  t.match(await host.runJson(['status']), {
    domains: [{ ...known, headAgeMs: Number, pending: 'none', pendingChanges: 0 }],
    attention: [{ code: 'AGENT_UNREACHABLE', message: new RegExp(`changes of ${DOMAIN} are not published`) }],
  });
  await guest.write(Buffer.from([...VALUE].reverse()));
  t.match(await host.runJson(['status']), {
    domains: [{ ...known, pending: 'local', pendingChanges: 1, pendingSince: /Z$/ }],
  });
  t.match(await mustRun(host, ['status']), /would go back to generation \d+ and lose its last change/);
});

t.test(
  'a status without an agent tells of a final state whose directory its manager has deleted',
  async (t) => {
    const site = await Site.create(t);
    const host = await site.host('kvm-a');
    const guest = await Guest.start(t, host);
    await guest.keep(VALUE);
    await mustRun(host, ['capture', DOMAIN]);
    const away = `${site.share}-away`;
    const stopWithoutShare = async (): Promise<void> => {
      await rename(site.share, away);
      await guest.stop();
      await rename(away, site.share);
      await rm(join(host.swtpmDirectory, DOMAIN), { recursive: true });
    };
    await guest.write(Buffer.from([...VALUE].reverse()));
    await stopWithoutShare();
    const waits = { state: 'finishing', pending: 'spooled', behind: 'spooled', attention: [] };
    t.match(
      await host.runJson(['status']),
      { domains: [{ uuid: DOMAIN, ...waits }] },
      'it waits in the spool',
    );
    t.match(await mustRun(host, ['status']), /spool/);
    await mustRun(host, ['domain', 'stopped', DOMAIN]);
    const stored = { state: 'stopped', pending: 'none', behind: null, lagMs: 0, attention: [] };
    t.match(await host.runJson(['status']), { domains: [{ uuid: DOMAIN, ...stored }] }, 'it is on the share');
  },
);

t.test('commands that meet an agent that starts at the same time all come to an end', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  // The journal knows the domain, so the agent wants its lock too.
  await mustRun(host, ['domain', 'prepare', DOMAIN]);
  const guest = await Guest.startUnannounced(t, host);
  const unlock = await lock(join(host.stateDirectory, 'locks', DOMAIN), { realpath: false });
  const answers = [
    mustRun(host, ['domain', 'started', DOMAIN]),
    mustRun(host, ['domain', 'prepare', OTHER_DOMAIN]),
    mustRun(host, ['status']),
  ];
  // With the domain's lock in other hands, command and agent both wait for it.
  const agent = host.startAgent(t);
  await agent;
  await unlock();
  await Promise.all(answers);
  await guest.swtpm.stop();
  for (const uuid of [DOMAIN, OTHER_DOMAIN]) await mustRun(host, ['domain', 'stopped', uuid]);
  t.match((await site.volume(DOMAIN).story()).at(-1), /^release/);
  t.match((await site.volume(OTHER_DOMAIN).story()).at(-1), /^release/);
});
