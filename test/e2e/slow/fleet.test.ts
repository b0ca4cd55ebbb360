/**
 * The whole fleet, seen from the share by a host that runs no agent.
 */
import t from 'tap';
import { DOMAIN, Guest, mustRun, nameOf, OTHER_DOMAIN } from '../../fixtures/guest.js';
import { BackgroundProcess } from '../../fixtures/process.js';
import { builtProgram } from '../../fixtures/program.js';
import { Site } from '../../fixtures/site.js';
import { waitUntil } from '../../fixtures/wait-until.js';

interface Fleet {
  readonly hosts: readonly { readonly host: string; readonly alive: boolean; readonly holds: number }[];
  readonly volumes: readonly { readonly uuid: string; readonly state: string }[];
}

t.test('status --all-hosts tells holders that live from those that do not, and finds names', async (t) => {
  const site = await Site.create(t);
  const a = await site.host('kvm-a');
  const b = await site.host('kvm-b');
  const looker = await site.host('kvm-c');
  const agent = await a.startAgent(t);
  const guest = await Guest.start(t, a);
  await guest.keep(Buffer.from('kept'));
  await mustRun(a, ['capture', DOMAIN]);
  const other = await Guest.start(t, b, { uuid: OTHER_DOMAIN });
  await other.stop();

  const living = (await looker.runJson(['status', '--all-hosts'])) as Fleet;
  t.match(living.hosts, [
    { host: 'kvm-a', alive: true, holds: 1 },
    { host: 'kvm-b', holds: 0 },
  ]);
  t.equal(living.hosts.length, 2, 'who only looks is no host of the share');
  t.match(
    living.volumes,
    [
      {
        uuid: DOMAIN,
        name: nameOf(DOMAIN),
        state: 'held',
        holder: { host: 'kvm-a', alive: true },
        head: { host: 'kvm-a', time: /Z$/, ageMs: Number },
        attention: [],
      },
      { uuid: OTHER_DOMAIN, state: 'released', holder: null },
    ].sort((x, y) => nameOf(x.uuid).localeCompare(nameOf(y.uuid))),
  );

  await agent.kill();
  await waitUntil('kvm-a to expire', 20_000, async () => {
    const { hosts } = (await looker.runJson(['status', '--all-hosts'])) as Fleet;
    return hosts.some(({ host, alive }) => host === 'kvm-a' && !alive) ? true : undefined;
  });
  const dead = (await looker.runJson(['status', '--all-hosts'])) as Fleet;
  t.match(dead.volumes[0], {
    uuid: DOMAIN,
    state: 'orphaned',
    attention: [{ code: 'HELD_ELSEWHERE', message: /kvm-a holds it and has expired .* generation \d+/ }],
  });
  const text = await mustRun(looker, ['status', '--all-hosts']);
  t.match(text, /^share .*: 2 hosts, 2 volumes\nHOST .*\nkvm-a +EXPIRED /);

  const unknown = await looker.run(['history', nameOf(DOMAIN)]);
  t.equal(unknown.status, 6, unknown.stderr);
  t.match(unknown.stderr, /--all-hosts/);
  t.match(await looker.runJson(['history', nameOf(DOMAIN), '--all-hosts']), [{ head: true }]);
  t.match(await looker.runJson(['status', '--all-hosts', nameOf(OTHER_DOMAIN)]), {
    volumes: [{ uuid: OTHER_DOMAIN }],
  });
});

t.test(
  'a host whose agent ends while it holds nothing has left; one with a running VM has not',
  async (t) => {
    const site = await Site.create(t, { timing: { host_expiry: '60s' } });
    const a = await site.host('kvm-a');
    const looker = await site.host('kvm-b');
    const hostsSeen = async (): Promise<unknown> =>
      ((await looker.runJson(['status', '--all-hosts'])) as { hosts: unknown }).hosts;

    let agent = await a.startAgent(t);
    const guest = await Guest.start(t, a);
    t.equal((await agent.stop()).status, 0);
    t.match(await hostsSeen(), [{ host: 'kvm-a', alive: true, heartbeatAgeMs: Number, holds: 1 }]);

    agent = await a.startAgent(t);
    await guest.stop();
    t.equal((await agent.stop()).status, 0);
    t.match(await hostsSeen(), [{ host: 'kvm-a', alive: false, heartbeatAgeMs: null, holds: 0 }]);
    t.match(await mustRun(looker, ['status', '--all-hosts']), /\nkvm-a +left /);
  },
);

for (const scope of [[], ['--all-hosts']]) {
  t.test(`status --watch ${scope.join(' ')} goes on telling`, async (t) => {
    const site = await Site.create(t);
    const host = await site.host('kvm-a');
    await host.startAgent(t);
    await Guest.start(t, host);
    const args = ['status', ...scope, '--watch', '--json', '--config', host.config];
    const watching = await BackgroundProcess.start(process.execPath, [await builtProgram(), ...args]);
    t.teardown(() => watching.kill());
    const seen = async (what: string, isThere: (line: string) => boolean): Promise<void> => {
      await waitUntil(what, 30_000, () =>
        watching.stdout.toString().split('\n').slice(0, -1).some(isThere) ? true : undefined,
      );
    };
    await seen('the first domain', (line) => line.includes(DOMAIN));
    const other = await Guest.start(t, host, { uuid: OTHER_DOMAIN });
    await seen('the second one', (line) => line.includes(DOMAIN) && line.includes(OTHER_DOMAIN));
    await other.stop();
  });
}
