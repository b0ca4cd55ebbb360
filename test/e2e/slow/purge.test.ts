/**
 * The end of a volume: forgotten, or destroyed; and never by accident.
 */
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';

const SECRET = Buffer.from('kept');

t.test(
  'G7: purge says what would go, is refused while the domain runs, and then leaves nothing',
  async (t) => {
    const site = await Site.create(t);
    const host = await site.host('kvm-a');
    const other = await site.host('kvm-b');
    await host.startAgent(t);
    const guest = await Guest.start(t, host);
    await guest.keep(SECRET);
    for (const args of [
      ['purge', DOMAIN, '--yes'],
      ['forget', DOMAIN],
    ]) {
      const running = await host.run(args);
      t.equal(running.status, 3, running.stderr);
      t.match(running.stderr, /^swtpm-mirror: DOMAIN_RUNNING: .+\n {2}shut the domain down first/);
      const elsewhere = await other.run(args);
      t.equal(elsewhere.status, 3, elsewhere.stderr);
      t.match(
        elsewhere.stderr,
        /^swtpm-mirror: HELD_ELSEWHERE: host kvm-a .+\n {2}shut the domain down on kvm-a first\n$/,
      );
    }
    await guest.stop();

    const asked = await host.run(['purge', DOMAIN]);
    t.equal(asked.status, 2);
    t.match(
      asked.stderr,
      /^swtpm-mirror: CONFIRMATION_NEEDED: .* destroys \d+ generations? .* and what this host remembers of it, for good\n {2}.*--yes\n$/,
    );
    t.match(await host.runJson(['history', DOMAIN]), [{ kind: 'publish' }], 'nothing has gone yet');

    t.strictSame(await host.runJson(['purge', DOMAIN, '--yes']), { uuid: DOMAIN, purged: true });
    t.strictSame(await readdir(join(site.share, 'volumes')), []);
    t.strictSame(await readdir(join(site.share, 'purged')), []);
    const gone = await host.run(['purge', DOMAIN]);
    t.equal(gone.status, 6, gone.stderr);
    t.match(gone.stderr, /^swtpm-mirror: NO_SUCH_DOMAIN: /);

    await access(host.tpmDirectory(DOMAIN));
    const again = await Guest.start(t, host);
    t.strictSame(
      await again.read(SECRET.length),
      SECRET,
      "the host's own copy is not the volume, and is adopted anew",
    );
    await again.stop();
    t.match((await site.volume(DOMAIN).story())[0], 'claim', 'the log begins anew');
    t.match(await host.runJson(['history', DOMAIN]), [{ kind: 'publish', head: true }]);
  },
);

t.test('a forgotten domain is refused until somebody revives it', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  const guest = await Guest.start(t, host);
  await guest.keep(SECRET);
  await guest.stop();
  t.match(await mustRun(host, ['forget', DOMAIN]), /is forgotten; its volume keeps its last state/);
  t.equal((await site.volume(DOMAIN).story()).at(-1), 'tombstone forget');
  const refused = await host.run(['domain', 'prepare', DOMAIN]);
  t.equal(refused.status, 3);
  t.match(refused.stderr, /^swtpm-mirror: TOMBSTONED: .+\n {2}.*take-over/);
  await mustRun(host, ['take-over', DOMAIN]);
  const again = await Guest.start(t, host);
  t.strictSame(await again.read(SECRET.length), SECRET);
  await again.stop();
  const unknown = await host.run(['forget', '11111111-2222-4333-8444-555555555555']);
  t.equal(unknown.status, 6, unknown.stderr);
});

for (const withAgent of [true, false]) {
  const who = withAgent ? 'with' : 'without';
  t.test(
    `G8: ${who} an agent, a domain of whose TPM nothing is left is refused, and can be given up`,
    async (t) => {
      const site = await Site.create(t);
      const host = await site.host('kvm-a');
      if (withAgent) await host.startAgent(t);
      await mustRun(host, ['domain', 'prepare', DOMAIN]);
      await mustRun(host, ['domain', 'started', DOMAIN]);
      const givenUp = new RegExp(`swtpm-mirror purge ${DOMAIN}. gives it up`);
      t.match(await host.run(['domain', 'stopped', DOMAIN]), { status: 6, stderr: givenUp });
      t.match(await host.run(['domain', 'prepare', DOMAIN]), { status: 3, stderr: givenUp });
      const forgotten = await host.run(['forget', DOMAIN]);
      t.match(forgotten, { status: 3, stderr: /DOMAIN_RUNNING/ }, 'nothing less ends it');
      await mustRun(host, ['purge', DOMAIN, '--yes']);
      await (await Guest.start(t, host)).stop();
    },
  );
}

t.test('G5: a final state that waits to be stored is not given up', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  await mustRun(host, ['domain', 'prepare', DOMAIN]);
  await mustRun(host, ['domain', 'started', DOMAIN]);
  await host.run(['domain', 'stopped', DOMAIN]);
  const guest = await Guest.startUnannounced(t, host);
  await guest.crash();
  t.match(await host.run(['purge', DOMAIN, '--yes']), {
    status: 3,
    stderr: /has not stored the final state/,
  });
  await mustRun(host, ['domain', 'stopped', DOMAIN]);
  t.match(await host.runJson(['history', DOMAIN]), [{ kind: 'publish' }]);
});
