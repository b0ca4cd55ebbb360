/**
 * A whole share is checked: every damage is found, nothing is changed, and an interrupted check goes on where it ended.
 */
import { access, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { formatSlot } from '../../../src/model/generation-name.js';
import { DOMAIN, Guest, mustRun, OTHER_DOMAIN } from '../../fixtures/guest.js';
import { Site } from '../../fixtures/site.js';
import { readTree } from '../../fixtures/tree.js';

const THIRD = '22222222-3333-4444-8555-666666666666';

t.test('G6 G7: verify --all finds all that was planted, in every volume, and harms nothing', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  for (const uuid of [DOMAIN, OTHER_DOMAIN, THIRD]) {
    const guest = await Guest.start(t, host, { uuid });
    await guest.keep(Buffer.from('kept'));
    await guest.stop();
  }
  t.match(await host.runJson(['verify', '--all']), [{ damaged: [], problems: [] }, {}, {}]);
  const stranger = await site.host('stranger');
  await rm(stranger.stateDirectory, { recursive: true });
  t.match(await stranger.runJson(['verify', '--all']), [{}, {}, {}], 'on a host that never ran an agent');

  // The first volume that is listed has a gap in its log, the last one a torn head.
  const { epoch } = await site.volume(OTHER_DOMAIN).expectHead();
  await unlink(join(site.volume(OTHER_DOMAIN).log, formatSlot(epoch)));
  const head = await site.volume(DOMAIN).expectHead();
  await writeFile(site.volume(DOMAIN).archive(head), 'torn');
  await writeFile(join(site.share, 'volumes', 'stranger'), '');
  const before = await readTree(join(site.share, 'volumes'));
  const { status, stdout, stderr } = await host.run(['verify', '--all', '--json']);
  t.equal(status, 5);
  t.match(JSON.parse(stdout), [
    { uuid: OTHER_DOMAIN, problems: [{ code: 'VOLUME_DAMAGED' }] },
    { uuid: THIRD, damaged: [], problems: [] },
    { uuid: DOMAIN, damaged: [{ generation: head.slot }], problems: [] },
  ]);
  t.match(stderr, /volumes\/stranger: no volume/);
  t.match(stderr, /swtpm-mirror: GENERATION_DAMAGED: 2 things are damaged\n {2}.+\n$/);
  t.strictSame(await readTree(join(site.share, 'volumes')), before);
});

t.test('an interrupted check of the share goes on where it ended', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  for (const uuid of [DOMAIN, OTHER_DOMAIN]) {
    const guest = await Guest.start(t, host, { uuid });
    await guest.stop();
  }
  const { id } = JSON.parse(await readFile(join(site.share, 'swtpm-mirror.json'), 'utf8')) as { id: string };
  const record = join(host.stateDirectory, 'verify.jsonl');
  const lines = [
    { format: 1, share: id, startedAt: '2026-01-01T00:00:00.000Z' },
    { uuid: OTHER_DOMAIN, checked: 77, damaged: [], problems: [] },
  ].map((line) => `${JSON.stringify(line)}\n`);
  await writeFile(record, `${lines.join('')}{"uuid":"${DOMAIN}","checked":9`);
  const resumed = await mustRun(host, ['verify', '--all', '--resume']);
  t.match(resumed, `${OTHER_DOMAIN}: 77 checked, 0 damaged\n`);
  t.match(resumed, new RegExp(`${DOMAIN}: [1-8] checked, 0 damaged\\n`), 'a torn line does not count');
  await t.rejects(access(record), 'one that came to its end leaves nothing to go on with');

  await writeFile(record, lines.join(''));
  t.notMatch(await mustRun(host, ['verify', '--all']), '77 checked', 'without --resume it begins anew');
  await writeFile(record, lines.join('').replace(id, '0'.repeat(32)));
  t.notMatch(
    await mustRun(host, ['verify', '--all', '--resume']),
    '77 checked',
    'nor is another share resumed',
  );
});
