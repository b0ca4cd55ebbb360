import { chmod, lchown, mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { settleOwnPlace, type OwnPlaceContext } from '../../../src/agent/own-place.js';
import type { JournalRecord } from '../../../src/host/journal-record.js';
import { parseConfig } from '../../../src/model/config.js';
import { parseDomainUuid } from '../../../src/model/identifiers.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const UUID = parseDomainUuid('6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d');
const OTHER = parseDomainUuid('0d9f3a51-22c4-4e6b-8a77-5c1e2f3a4b5c');
const NOBODY = 65534;

interface Rig {
  readonly base: string;
  /** @returns the directory that is worked in, 'default', or why it is refused */
  readonly settled: (directory: string) => Promise<string>;
}

async function makeRig(t: Test, taken: readonly string[] = []): Promise<Rig> {
  const base = await temporaryDirectory(t);
  for (const name of ['swtpm', 'share', 'state', 'run', 'srv']) await mkdir(join(base, name));
  const text = `share = "${base}/share"\nstate_dir = "${base}/state"\nrun_dir = "${base}/run"\n[libvirt]\nswtpm_dir = "${base}/swtpm"\n`;
  const records = taken.map((path) => ({
    uuid: OTHER,
    name: 'other',
    tpm: { role: 'tpm2', directory: join(base, path) },
  }));
  const context: OwnPlaceContext = {
    fs: new NodeFileSystem({ mayBeNfs: false }),
    config: parseConfig(text, { hostName: 'kvm-a' }),
    journal: { list: () => Promise.resolve({ records: records as JournalRecord[], damaged: [] }) },
  };
  const settled = async (directory: string): Promise<string> => {
    try {
      const place = await settleOwnPlace(context, UUID, { role: 'tpm2', directory });
      return place?.directory ?? 'default';
    } catch (error) {
      return error instanceof Error && 'code' in error ? `${String(error.code)}: ${error.message}` : 'failed';
    }
  };
  return { base, settled };
}

t.test(
  'a directory below ones that only root writes to is worked in, whether or not it is there',
  async (t) => {
    const { base, settled } = await makeRig(t);
    for (const path of ['srv/a', 'srv', 'srv/a/b/c/d', 'new/deep/one']) {
      t.equal(await settled(join(base, path)), join(base, path), path);
    }
  },
);

t.test('links are followed once, to the place that counts from then on', async (t) => {
  const { base, settled } = await makeRig(t);
  await mkdir(join(base, 'disk/tpm'), { recursive: true });
  await symlink('disk', join(base, 'to-disk'));
  await symlink(join(base, 'to-disk/tpm'), join(base, 'to-tpm'));
  await symlink('../srv/../to-tpm', join(base, 'srv/up'));
  for (const path of ['to-disk/tpm', 'to-tpm', 'srv/up']) {
    t.equal(await settled(join(base, path)), join(base, 'disk/tpm'), path);
  }
  await symlink('loop', join(base, 'loop'));
  t.match(await settled(join(base, 'loop/x')), /^TPM_PLACE_UNFIT: .*too many links/);
  await symlink('swtpm', join(base, 'to-swtpm'));
  t.equal(await settled(join(base, 'to-swtpm', UUID, 'tpm2')), 'default', "libvirt's own place by a link");
  await symlink(join(base, 'share'), join(base, 'to-share'));
  t.match(await settled(join(base, 'to-share/x')), /^TPM_PLACE_UNFIT: .*the share/);
});

t.test('a place that others can exchange is refused', async (t) => {
  const { base, settled } = await makeRig(t);
  await mkdir(join(base, 'open'));
  await chmod(join(base, 'open'), 0o777);
  t.match(await settled(join(base, 'open/tpm')), /^TPM_PLACE_UNFIT: .*others than root/);
  await chmod(join(base, 'open'), 0o1777);
  t.match(await settled(join(base, 'open/tpm')), /others than root/, 'a sticky one in which nothing is yet');
  await mkdir(join(base, 'open/tpm'));
  t.equal(await settled(join(base, 'open/tpm')), join(base, 'open/tpm'), "a sticky one in which root's is");
  await mkdir(join(base, 'theirs'));
  await lchown(join(base, 'theirs'), NOBODY, NOBODY);
  t.match(await settled(join(base, 'theirs/tpm')), /others than root/);
  await symlink(join(base, 'srv'), join(base, 'open/link'));
  await lchown(join(base, 'open/link'), NOBODY, NOBODY);
  t.match(await settled(join(base, 'open/link')), /others than root/, 'a link that another user made');
});

t.test('a place that is needed for something else is refused', async (t) => {
  const { base, settled } = await makeRig(t, ['srv/taken']);
  for (const [path, why] of [
    ['share', 'the share'],
    ['share/volumes/x/live', 'the share'],
    ['state/spool', 'state_dir'],
    ['run', 'run_dir'],
    ['', 'the share'],
    ['swtpm', 'other domains'],
    [`swtpm/${OTHER}/tpm2`, 'other domains'],
    ['srv/taken', `"other" \\(${OTHER}\\)`],
    ['srv/taken/below', OTHER],
    ['srv', OTHER],
  ] as const) {
    t.match(await settled(join(base, path)), new RegExp(`^TPM_PLACE_UNFIT: .*${why}`), path);
  }
  t.equal(await settled(join(base, 'srv/taken2')), join(base, 'srv/taken2'), 'a name that begins alike');
  const inside = join(base, 'swtpm', UUID, 'mine');
  t.equal(await settled(inside), inside, "in the domain's own directory of libvirt's");
  t.match(await settled('/'), /TPM_PLACE_UNFIT/);
});
