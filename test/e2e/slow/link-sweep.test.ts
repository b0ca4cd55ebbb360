/**
 * Links in place of TPM directories, which libvirt would delete through: an agent takes them away when it starts, and loses nothing by it.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { HostFixture } from '../../fixtures/host.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const STORED = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const UNKNOWN = '11111111-2222-4333-8444-555555555555';
const STATE = Buffer.from(readStateBlob('used.permall').data);

t.test('G7, G8: a swept link leaves its target whole, and its domain does not start blank', async (t) => {
  const base = await temporaryDirectory(t);
  const host = await HostFixture.create({ name: 'kvm-a', base, share: join(base, 'share') });
  t.equal((await host.run(['share', 'init', host.share])).status, 0);
  await mkdir(host.tpmDirectory(STORED), { recursive: true });
  await writeFile(join(host.tpmDirectory(STORED), 'tpm2-00.permall'), STATE);
  for (const verb of ['prepare', 'started', 'stopped']) {
    t.equal((await host.run(['domain', verb, STORED])).status, 0);
  }

  const elsewhere = join(base, 'elsewhere');
  await mkdir(join(elsewhere, 'tpm2'), { recursive: true });
  await writeFile(join(elsewhere, 'tpm2/tpm2-00.permall'), STATE);
  const linked = dirname(host.tpmDirectory(UNKNOWN));
  await symlink(elsewhere, linked);

  const agent = await host.startAgent(t);
  t.match(await host.run(['domain', 'prepare', UNKNOWN]), {
    status: 5,
    stderr: /STATE_INVALID: .+elsewhere/,
  });
  t.notOk(existsSync(linked), 'the link is gone, and no blank TPM is in its place');
  t.strictSame(await readFile(join(elsewhere, 'tpm2/tpm2-00.permall')), STATE);
  const told = { attention: [{ code: 'STATE_LINKED', message: linked, next: elsewhere }] };
  t.match(await host.runJson(['status']), told);
  await agent.stop();
  await host.startAgent(t);
  t.match(await host.run(['domain', 'prepare', UNKNOWN]), {
    status: 5,
    stderr: /STATE_INVALID: .+elsewhere/,
  });
  t.match(await host.runJson(['status']), told, 'also by the next agent');
  t.notOk(existsSync(linked), 'no blank TPM');
  t.equal((await host.run(['domain', 'prepare', STORED])).status, 0, 'others start as ever');

  await rename(elsewhere, linked);
  t.equal(
    (await host.run(['domain', 'prepare', UNKNOWN])).status,
    0,
    'moved where it belongs, it is adopted',
  );
  t.strictSame(((await host.runJson(['status'])) as { attention: unknown[] }).attention, []);
});
