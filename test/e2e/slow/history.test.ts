/**
 * The whole story of a volume that two hosts had.
 */
import t from 'tap';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';

interface Line {
  readonly generation: number;
  readonly kind: string;
  readonly epoch: number;
  readonly host: string;
  readonly time: string;
  readonly reason: string;
  readonly head: boolean;
  readonly bytes?: number;
  readonly sha256?: string;
  readonly from?: string;
  readonly silentMs?: number;
}

t.test('the history tells who claimed, published and released a volume, when and why', async (t) => {
  const site = await Site.create(t);
  const [a, b] = [await site.host('kvm-a'), await site.host('kvm-b')];
  const volume = site.volume(DOMAIN);
  const found = await Guest.startUnannounced(t, a);
  await found.keep(Buffer.from('value 1'));
  const agentA = await a.startAgent(t);
  await volume.waitForHead(await found.permall());
  await found.stop('shutdown');
  const started = await Guest.start(t, a);
  await started.write(Buffer.from('value 2'));
  await volume.waitForHead(await started.permall());
  await agentA.kill();
  await started.crash();
  const agentB = await b.startAgent(t);
  const moved = await Guest.start(t, b);
  await moved.write(Buffer.from('value 3'));
  await volume.waitForHead(await moved.permall());
  await agentB.stop();
  await b.startAgent(t);
  await volume.waitForTop('claim');
  const takenOver = { from: 'kvm-a', silentMs: Number };
  t.match(await b.runJson(['status']), { domains: [{ takenOver }] }, 'another agent knows it, too');
  await moved.stop('destroyed');
  t.match(await b.runJson(['status']), { domains: [{ takenOver: null }] }, 'it was that run');

  const newestFirst = (await b.runJson(['history', '--all', DOMAIN])) as Line[];
  t.strictSame(
    newestFirst.map((line) => line.generation),
    newestFirst.map((line) => line.generation).sort((one, other) => other - one),
  );
  const story = [...newestFirst].reverse().map(({ kind, host, reason }) => [kind, host, reason].join(' '));
  t.strictSame(
    story.filter((line) => !line.startsWith('publish')),
    [
      'claim kvm-a adopt',
      'release kvm-a shutdown',
      'claim kvm-a start',
      'claim kvm-b take-over',
      'claim kvm-b recover',
      'release kvm-b destroyed',
    ],
  );
  t.strictSame(story.slice(0, 2), ['claim kvm-a adopt', 'publish kvm-a adopt']);
  let epoch = 0;
  for (const line of [...newestFirst].reverse()) {
    if (line.kind === 'claim') epoch = line.generation;
    t.equal(line.epoch, epoch, `${line.generation} belongs to the epoch of the latest claim`);
    t.match(line.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  }

  const published = (await b.runJson(['history', DOMAIN])) as Line[];
  t.ok(published.every((line) => line.kind === 'publish'));
  t.strictSame(
    published.filter((line) => line.head).map((line) => line.generation),
    [(await volume.expectHead()).slot],
  );
  for (const line of published) t.match(line, { bytes: Number, sha256: /^[0-9a-f]{64}$/ });
  t.match(
    newestFirst.filter(({ from }) => from !== undefined),
    [{ ...takenOver, kind: 'claim', reason: 'take-over' }],
  );
  const table = await mustRun(b, ['history', '--all', DOMAIN]);
  t.match(table, /claim .* take-over .* taken from kvm-a, silent for /);
  t.equal(table.split('\n').length, newestFirst.length + 2, 'one line each, under a header');
});
