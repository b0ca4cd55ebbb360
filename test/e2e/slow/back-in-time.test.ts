/**
 * Older states put back, and copies: what a TPM remembers afterwards is read from a real swtpm.
 */
import { unlink } from 'node:fs/promises';
import t from 'tap';
import { DOMAIN, Guest, mustRun, OTHER_DOMAIN } from '../../fixtures/guest.js';
import type { HostFixture } from '../../fixtures/host.js';
import { Site } from '../../fixtures/site.js';
import type { TestScope } from '../../fixtures/temporary-directory.js';

const OLD = Buffer.from('before');
const NEW = Buffer.from('after ');

interface History {
  readonly generation: number;
  readonly head: boolean;
  readonly reason: string;
  readonly pins: readonly string[];
}

async function historyOf(host: HostFixture): Promise<History[]> {
  return (await host.runJson(['history', DOMAIN])) as History[];
}

/** A stopped domain whose head has NEW, and a generation that has OLD. */
async function twoStates(t: TestScope, host: HostFixture): Promise<number> {
  const guest = await Guest.start(t, host);
  await guest.keep(OLD);
  const { generation } = (await host.runJson(['capture', DOMAIN])) as { generation: number };
  await guest.write(NEW);
  await guest.stop();
  return generation;
}

async function remembers(t: TestScope, host: HostFixture, uuid = DOMAIN): Promise<string> {
  const guest = await Guest.start(t, host, { uuid });
  const value = await guest.read(OLD.length);
  await guest.stop();
  return value.toString();
}

t.test('rollback brings a state back as a new generation, and keeps the head before', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  const other = await site.host('kvm-b');
  await host.startAgent(t);
  const old = await twoStates(t, host);
  const [head] = await historyOf(host);
  const answer = await host.runJson(['rollback', DOMAIN, String(old)]);
  t.match(answer, {
    uuid: DOMAIN,
    from: old,
    before: head?.generation,
    kept: `before-rollback-${head?.generation}`,
  });
  t.match(await historyOf(host), [
    { head: true, reason: 'rollback' },
    { generation: head?.generation, pins: [/before/] },
  ]);
  t.equal(await remembers(t, host), OLD.toString(), 'on the host whose disk still had the newer state');
  t.equal(await remembers(t, other), OLD.toString(), 'and on another');

  t.match(
    await mustRun(host, ['snapshot', 'revert', DOMAIN, `before-rollback-${head?.generation}`]),
    /has the content/,
  );
  t.equal(await remembers(t, host), NEW.toString());
});

t.test('G3: nothing is put under a running domain, from this host or another', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  const other = await site.host('kvm-b');
  await host.startAgent(t);
  const guest = await Guest.start(t, host);
  await guest.keep(OLD);
  await host.runJson(['snapshot', 'create', DOMAIN, 'now']);
  const [head] = await historyOf(host);
  for (const args of [
    ['rollback', DOMAIN, '--to', String(head?.generation)],
    ['snapshot', 'revert', DOMAIN, 'now'],
  ]) {
    for (const [from, code] of [
      [host, 'DOMAIN_RUNNING'],
      [other, 'HELD_ELSEWHERE'],
    ] as const) {
      const { status, stderr } = await from.run(args);
      t.equal(status, 3, stderr);
      t.match(stderr, new RegExp(`^swtpm-mirror: ${code}: .+\\n {2}shut .+\\n$`));
    }
  }
  await guest.write(NEW);
  await guest.stop();
  t.equal(await remembers(t, host), NEW.toString());
});

t.test('a snapshot is of the moment, is listed, and goes only when that is meant', async (t) => {
  const site = await Site.create(t, { timing: { settle: '5s' } });
  const host = await site.host('kvm-a');
  await host.startAgent(t);
  const guest = await Guest.start(t, host);
  await guest.keep(OLD);
  const made = await host.runJson(['snapshot', 'create', DOMAIN, 'first']);
  t.match(made, { name: 'first', inLog: true });
  const taken = await host.run(['snapshot', 'create', DOMAIN, 'no/name']);
  t.equal(taken.status, 2, taken.stderr);
  await guest.write(NEW);
  await guest.stop();
  t.equal(await remembers(t, host), NEW.toString(), 'a later claim');
  // As pruning does it: whole epochs from the bottom, the generations first.
  const volume = site.volume(DOMAIN);
  for (const generation of (await volume.published()).slice(0, -1)) await unlink(volume.archive(generation));
  t.match(await host.runJson(['snapshot', 'list', DOMAIN]), [{ name: 'first', inLog: false }]);
  t.match(await mustRun(host, ['snapshot', 'list', DOMAIN]), /^SNAPSHOT .*\nfirst .* the only copy\n$/);
  const asked = await host.run(['snapshot', 'delete', DOMAIN, 'first']);
  t.equal(asked.status, 2, asked.stderr);
  t.match(asked.stderr, /^swtpm-mirror: CONFIRMATION_NEEDED: .*only copy/);
  await mustRun(host, ['snapshot', 'revert', DOMAIN, 'first']);
  t.equal(await remembers(t, host), OLD.toString());
  await mustRun(host, ['snapshot', 'delete', DOMAIN, 'first', '--yes']);
  const gone = await host.run(['snapshot', 'revert', DOMAIN, 'first']);
  t.equal(gone.status, 6, gone.stderr);
});

t.test('a clone is the same TPM, and says so; with a new identity it is a blank one', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  await twoStates(t, host);
  const { stdout, stderr, status } = await host.run(['clone', DOMAIN, OTHER_DOMAIN]);
  t.equal(status, 0, stderr);
  t.match(stdout, new RegExp(`^generation 2 of ${OTHER_DOMAIN} is a copy of the head of ${DOMAIN}\\n$`));
  t.match(stderr, /endorsement key is duplicated/);
  t.equal(await remembers(t, host, OTHER_DOMAIN), NEW.toString());
  const again = await host.run(['clone', DOMAIN, OTHER_DOMAIN]);
  t.equal(again.status, 2, again.stderr);

  const third = '22222222-3333-4444-8555-666666666666';
  const fresh = await host.run(['clone', DOMAIN, third, '--new-identity']);
  t.equal(fresh.status, 0, fresh.stderr);
  t.match(fresh.stderr, /blank TPM of its own/);
  const guest = await Guest.start(t, host, { uuid: third });
  await guest.keep(OLD);
  t.strictSame(await guest.read(OLD.length), OLD, 'there was no such index yet');
});

t.test('the history of a volume without a generation says what is there', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  await mustRun(host, ['domain', 'prepare', DOMAIN]);
  const { status, stdout, stderr } = await host.run(['history', DOMAIN]);
  t.equal(status, 0);
  t.equal(stdout, '');
  t.match(
    stderr,
    /^the volume of .* has no generation yet; its newest entry is a claim of kvm-a \(start, .+\)\n {2}see all/,
  );
  t.strictSame(await host.runJson(['history', DOMAIN]), []);
});
