/**
 * What a volume tells about itself: the captures in it, and whether they can be read back.
 */
import { mkdir, open, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DOMAIN, Guest, mustRun, PERMALL } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';
import { readTree } from '../../fixtures/tree.js';

t.test('capture publishes at once and prints the generation', async (t) => {
  const site = await Site.create(t, { timing: { settle: '5s' } });
  const host = await site.host('kvm-a');
  await host.startAgent(t);
  const guest = await Guest.start(t, host);
  await guest.keep(Buffer.from('captured'));
  const output = await mustRun(host, ['capture', DOMAIN]);
  const volume = site.volumeOf(guest);
  const head = await volume.expectHead();
  t.equal(output, `${head.slot}\n`);
  t.strictSame(await volume.permallOf(head), await guest.permall());
  t.strictSame(await host.runJson(['capture', DOMAIN]), { uuid: DOMAIN, generation: head.slot });
  t.equal(await mustRun(host, ['capture', 'vm-6b0c']), `${head.slot}\n`, 'by its name too');
});

t.test(
  'G6: verify tells a whole volume from one with a flipped byte, and which generation has it',
  async (t) => {
    const site = await Site.create(t);
    const host = await site.host('kvm-a');
    const guest = await Guest.start(t, host);
    await guest.keep(Buffer.from('first'));
    await mustRun(host, ['capture', DOMAIN]);
    await guest.write(Buffer.from('later'));
    await guest.stop();
    const volume = site.volumeOf(guest);
    const generations = await volume.published();
    t.equal(await mustRun(host, ['verify', DOMAIN]), `${DOMAIN}: ${generations.length} checked, 0 damaged\n`);

    const victim = generations[0];
    if (!victim) throw new Error('expected a generation');
    const file = await open(volume.archive(victim), 'r+');
    const byte = Buffer.alloc(1);
    const position = Math.floor((await file.stat()).size / 2);
    await file.read(byte, 0, 1, position);
    await file.write(Buffer.of((byte[0] ?? 0) ^ 0x10), 0, 1, position);
    await file.close();
    for (const args of [
      ['verify', DOMAIN],
      ['verify', '--all'],
    ]) {
      const { status, stdout, stderr } = await host.run(args);
      t.equal(status, 5);
      t.match(
        stdout,
        new RegExp(`: ${generations.length} checked, 1 damaged\n {2}generation ${victim.slot}: `),
      );
      t.match(stderr, /^swtpm-mirror: GENERATION_DAMAGED: .+\n {2}.+\n$/);
    }
  },
);

t.test('restore writes one generation into a directory of its own, and into no other', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  const guest = await Guest.start(t, host);
  await guest.keep(Buffer.from('restored'));
  await guest.stop();
  const head = await site.volumeOf(guest).expectHead();
  const live = await readTree(host.swtpmDirectory);

  const to = join(site.base, 'new', 'directory');
  await mkdir(join(site.base, 'new'));
  t.equal(await mustRun(host, ['restore', DOMAIN, '--to', to]), `${to}/tpm2/${PERMALL}\n`);
  t.strictSame(await readFile(join(to, 'tpm2', PERMALL)), await guest.permall());
  t.match(await readTree(to), {
    '.': 'directory 700',
    tpm2: 'directory 700',
    [`tpm2/${PERMALL}`]: /^file 600 /,
  });

  const occupied = join(site.base, 'occupied');
  await mkdir(occupied);
  await writeFile(join(occupied, 'mine'), 'keep this');
  const before = await readTree(occupied);
  const refused = await host.run(['restore', DOMAIN, '--to', occupied]);
  t.not(refused.status, 0);
  t.match(refused.stderr, /^swtpm-mirror: [A-Z_]+: .*occupied.*\n {2}.+\n$/);
  t.strictSame(await readTree(occupied), before);

  for (const generation of [head.slot - 1, head.slot + 1, 99_999_999]) {
    const unknown = await host.run([
      'restore',
      DOMAIN,
      '--generation',
      String(generation),
      '--to',
      join(site.base, 'none'),
    ]);
    t.equal(unknown.status, 6, unknown.stderr);
    t.match(unknown.stderr, /^swtpm-mirror: NO_SUCH_GENERATION: .+\n {2}.*history.*\n$/);
  }
  t.notOk((await readdir(site.base)).includes('none'), 'nothing is made for what is not there');
  t.strictSame(await readTree(host.swtpmDirectory), live, 'the live state is not touched');
});

t.test('G6: restore passes over a damaged head only when it is told to, and says so', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  const guest = await Guest.start(t, host);
  await guest.keep(Buffer.from('first'));
  await mustRun(host, ['capture', DOMAIN]);
  const first = await guest.permall();
  await guest.write(Buffer.from('later'));
  await guest.stop();
  const volume = site.volumeOf(guest);
  const head = await volume.expectHead();
  await truncate(volume.archive(head), 1000);
  const to = join(site.base, 'restored');
  const strict = await host.run(['restore', DOMAIN, '--to', to]);
  t.equal(strict.status, 5, strict.stderr);
  t.notOk((await readdir(site.base)).includes('restored'));
  const lenient = await host.run(['restore', DOMAIN, '--to', to, '--fall-back']);
  t.equal(lenient.status, 0, lenient.stderr);
  t.match(lenient.stderr, new RegExp(`^generation ${String(head.slot)} is passed over: .*\n$`));
  t.strictSame(await readFile(join(to, 'tpm2', PERMALL)), first);
});
