/**
 * Two agents, one volume: whoever lost it changes nothing, and nothing that it has is lost.
 */
import t from 'tap';
import { DIGEST_PREFIX_DIGITS } from '../../src/model/generation-name.js';
import { DOMAIN, Guest, mustRun } from '../fixtures/guest.js';
import type { HostFixture } from '../fixtures/host.js';
import { Site } from '../fixtures/site.js';
import { digestOf, type VolumeView } from '../fixtures/volume-view.js';
import { waitUntil } from '../fixtures/wait-until.js';

const PATIENCE_MS = 60_000;
const SIZE = 64;

interface DomainLine {
  readonly state: string;
  readonly attention: readonly { readonly code: string; readonly message: string; readonly next: string }[];
}

async function domainOn(host: HostFixture): Promise<DomainLine | undefined> {
  const { domains } = (await host.runJson(['status'])) as { domains: DomainLine[] };
  return domains[0];
}

function value(text: string): Buffer {
  const buffer = Buffer.alloc(SIZE, ' ');
  buffer.write(text);
  return buffer;
}

/** Waits until one diverged copy has this content. */
async function waitForDiverged(volume: VolumeView, permall: Uint8Array): Promise<void> {
  const digestPrefix = digestOf(permall).slice(0, DIGEST_PREFIX_DIGITS);
  await waitUntil('the losing state among the diverged copies', PATIENCE_MS, async () =>
    (await volume.divergedFiles()).some((file) => file.includes(digestPrefix)) ? true : undefined,
  );
}

t.test('G3, G5: a host that slept through a take-over is fenced, overwrites nothing, and what it writes is kept', async (t) => {
  const site = await Site.create(t, { timing: { start_deadline: '60s' } });
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  const agentA = await a.startAgent(t);
  await b.startAgent(t);
  const onA = await Guest.start(t, a);
  await onA.keep(value('of host A'));
  const volume = site.volumeOf(onA);
  await volume.waitForHead(await onA.permall());

  agentA.signal('SIGSTOP');
  const starting = Guest.start(t, b);
  await t.test('the start on B waits, and B says for whom', async (t) => {
    const waiting = await waitUntil('B to say that it waits', PATIENCE_MS, async () => {
      const line = await domainOn(b);
      return line && line.attention.length > 0 ? line : undefined;
    });
    t.match(waiting, { attention: [{ code: 'HELD_ELSEWHERE', message: /kvm-a/, next: /\S/ }] });
  });
  const onB = await starting;
  t.strictSame(await onB.read(SIZE), value('of host A'), 'B begins where A was');
  await onB.write(value('of host B'));
  await volume.waitForHead(await onB.permall());
  const before = await volume.entries();

  agentA.signal('SIGCONT');
  await onA.write(value('of host A, too late'));
  await waitForDiverged(volume, await onA.permall());
  t.strictSame((await volume.entries()).slice(0, before.length), before, 'A changed nothing in the log');
  await onB.write(value('of host B, later'));
  const head = await volume.waitForHead(await onB.permall());
  t.equal(head.host, 'kvm-b');
  t.ok((await volume.entries()).slice(before.length).every((entry) => entry.kind === 'publish'));

  t.match(await domainOn(a), {
    state: 'fenced',
    attention: [{ code: 'FENCED', message: /host kvm-b holds/, next: /history --all/ }],
  });
  t.match(await domainOn(b), { state: 'running', attention: [] });
  const lines = (await b.runJson(['history', '--all', DOMAIN])) as { kind: string; host: string; reason: string }[];
  t.match(
    lines.find((line) => line.kind === 'diverged'),
    { host: 'kvm-a', reason: 'diverged' },
  );

  await onA.stop('destroyed');
  t.not((await volume.story()).at(-1), 'release destroyed', 'the stop of the fenced one releases nothing');
  await onB.stop('shutdown');
  t.equal((await volume.story()).at(-1), 'release shutdown');
});

t.test('G3: a host that is alive is taken over only by force', async (t) => {
  const site = await Site.create(t);
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  await a.startAgent(t);
  await b.startAgent(t);
  const onA = await Guest.start(t, a);
  await onA.keep(value('of host A'));
  const volume = site.volumeOf(onA);
  const head = await volume.waitForHead(await onA.permall());
  const before = await volume.entries();

  for (const args of [
    ['domain', 'prepare', DOMAIN],
    ['take-over', DOMAIN],
  ]) {
    const { status, stderr } = await b.run(args);
    t.equal(status, 3, stderr);
    t.match(stderr, /^swtpm-mirror: HELD_ELSEWHERE: .*kvm-a.*\n {2}.*--force/);
  }
  t.strictSame(await volume.entries(), before, 'without --force nothing was claimed');

  t.match(await mustRun(b, ['take-over', DOMAIN, '--force']), /^held by kvm-b in epoch \d+, taken from kvm-a\n$/);
  const onB = await Guest.start(t, b);
  t.strictSame(await onB.read(SIZE), value('of host A'));
  await onA.write(value('of host A, too late'));
  await waitForDiverged(volume, await onA.permall());
  t.match(await domainOn(a), { state: 'fenced' });
  t.match(await domainOn(b), { state: 'running' });
  t.equal((await volume.published()).filter((name) => name.host === 'kvm-a').at(-1)?.slot, head.slot);
});

t.test('G4: a fenced host begins anew from the head, and keeps what it had', async (t) => {
  const site = await Site.create(t);
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  await a.startAgent(t);
  const onA = await Guest.start(t, a);
  await onA.keep(value('of host A'));
  const volume = site.volumeOf(onA);
  await volume.waitForHead(await onA.permall());
  await mustRun(b, ['take-over', DOMAIN, '--force']);
  const onB = await Guest.start(t, b);
  await onB.write(value('of host B'));
  await onA.write(value('of host A, too late'));
  await waitForDiverged(volume, await onA.permall());
  await onA.stop('destroyed');
  await onB.stop('shutdown');

  const again = await Guest.start(t, a);
  t.strictSame(await again.read(SIZE), value('of host B'));
  await again.write(value('of host A again'));
  await volume.waitForHead(await again.permall());
  t.match(await domainOn(a), { state: 'running', attention: [] });
});
