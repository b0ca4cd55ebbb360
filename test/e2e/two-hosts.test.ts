/**
 * Two agents, one volume: whoever lost it changes nothing, and nothing that it has is lost.
 */
import t from 'tap';
import { DOMAIN, Guest, mustRun } from '../fixtures/guest.js';
import type { HostFixture } from '../fixtures/host.js';
import { Site } from '../fixtures/site.js';
import { waitUntil } from '../fixtures/wait-until.js';

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

t.test(
  'G3, G5: a host that slept through a take-over is fenced, overwrites nothing, and what it writes is kept',
  async (t) => {
    const site = await Site.create(t, { timing: { start_deadline: '60s' } });
    const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
    const agentA = await a.startAgent(t);
    await b.startAgent(t);
    const onA = await Guest.start(t, a);
    await onA.keep(value('of host A'));
    const volume = site.volumeOf(onA);
    await volume.waitForHead(await onA.permall());

    agentA.signal('SIGSTOP');
    const onB = await Guest.start(t, b);
    t.strictSame(await onB.read(SIZE), value('of host A'), 'B begins where A was');
    await onB.write(value('of host B'));
    await volume.waitForHead(await onB.permall());
    const before = await volume.entries();

    agentA.signal('SIGCONT');
    await waitUntil('A to find out by itself', 60_000, async () =>
      (await domainOn(a))?.state === 'fenced' ? true : undefined,
    );
    t.strictSame(await volume.entries(), before, 'and to write nothing for that');
    await onA.write(value('of host A, too late'));
    await volume.waitForDiverged(await onA.permall());
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
    const lines = (await b.runJson(['history', '--all', DOMAIN])) as { kind: string; host: string }[];
    t.ok(lines.filter((line) => line.kind === 'diverged').every((line) => line.host === 'kvm-a'));
    t.ok(lines.some((line) => line.kind === 'diverged'));

    t.match(await mustRun(b, ['verify', DOMAIN]), /, 0 damaged\n$/, 'the diverged copies are whole');

    await onA.stop('destroyed');
    t.not((await volume.story()).at(-1), 'release destroyed', 'the stop of the fenced one releases nothing');
    await onB.stop('shutdown');
    t.equal((await volume.story()).at(-1), 'release shutdown');
  },
);

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

  t.match(
    await mustRun(b, ['take-over', DOMAIN, '--force']),
    /^held by kvm-b in epoch \d+, taken from kvm-a, silent for .+\n$/,
  );
  const onB = await Guest.start(t, b);
  t.strictSame(await onB.read(SIZE), value('of host A'));
  const captured = await a.run(['capture', DOMAIN]);
  t.match(captured, { stderr: /FENCED/ }, 'a capture says so, although the share has what was captured');
  t.not(captured.status, 0);
  await onA.write(value('of host A, too late'));
  await volume.waitForDiverged(await onA.permall());
  t.match(await domainOn(a), { state: 'fenced' });
  t.match(await domainOn(b), {
    state: 'running',
    takenOver: { from: 'kvm-a', silentMs: Number, at: /^20.*Z$/ },
  });
  t.match(await mustRun(b, ['status']), /^vm-.*: taken from kvm-a, silent for .*, at 20/m);
  t.equal((await volume.published()).filter((name) => name.host === 'kvm-a').at(-1)?.slot, head.slot);
});
