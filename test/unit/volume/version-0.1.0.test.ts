/**
 * What version 0.1.0 left is read, and gone on with: `version-0.1.0.tar.gz` holds a volume with two generations of a TPM with NVRAM and what the
 * spool of its host kept when the share was away, all written by that version.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { referring } from '../../../src/agent/share/part-references.js';
import { Spool } from '../../../src/host/spool.js';
import { systemClock, systemRandom } from '../../../src/host/node-environment.js';
import type { Capture } from '../../../src/model/capture.js';
import { parseSnapshotName } from '../../../src/model/identifiers.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { createLocalShareStore } from '../../../src/volume/local-share-store.js';
import { hostNamed } from '../../fixtures/host-identity.js';
import { runChecked } from '../../fixtures/process.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { NOTE, UUID } from '../../fixtures/tpm-captures.js';
import { hold } from '../../fixtures/volume-steps.js';

const LEFT = join(import.meta.dirname, '../../fixtures/version-0.1.0.tar.gz');
const ADOPTED = 3;
const FIRST = { permall: 'used.permall', variables: 'variables of 0.1.0' } as const;
const SECOND = { permall: 'used-restarted.permall', variables: 'variables of 0.1.0, later' } as const;

function expectState(
  t: Test,
  { files }: Capture,
  { permall, variables }: typeof FIRST | typeof SECOND,
): void {
  const dataOf = (role: string): Uint8Array | undefined => files.find((file) => file.role === role)?.data;
  t.strictSame(Buffer.from(dataOf('tpm2') ?? []), Buffer.from(readStateBlob(permall).data));
  t.equal(
    Buffer.from(dataOf('nvram') ?? [])
      .subarray(0, variables.length)
      .toString(),
    variables,
  );
  t.equal(dataOf('nvram')?.length, 131_072);
}

t.test('G4: generations and a spool of version 0.1.0 are read, and gone on with', async (t) => {
  const root = await temporaryDirectory(t);
  await runChecked('tar', ['-xzf', LEFT, '-C', root]);
  await mkdir(join(root, 'share/hosts'));
  const ports = { fs: new NodeFileSystem(), clock: systemClock, random: systemRandom };
  const own = createLocalShareStore({ ...ports, root: join(root, 'share'), self: hostNamed('kvm-b') });
  const store = referring(own);
  const { damaged, problems, checked } = await store.verify({ uuid: UUID });
  t.strictSame([damaged, problems], [[], []]);
  t.ok(checked > 0);
  const { generation } = await store.fetch({ uuid: UUID, slot: ADOPTED, fallBack: false });
  t.equal(generation.manifest.format, 1);
  expectState(t, generation.capture, FIRST);

  const spool = new Spool({ ...ports, stateDirectory: join(root, 'state') }, { spoolBytesMax: 2 ** 30 });
  const { newest } = await spool.peek(UUID);
  if (!newest) throw new Error('expected what the spool kept');
  expectState(t, newest.capture, SECOND);

  const held = await hold(store, 'forced');
  for (const { capture } of [newest, generation, newest]) {
    const { epoch, next: slot, parent } = held;
    const outcome = await store.publish({ uuid: UUID, epoch, slot, parent, capture, note: NOTE });
    t.equal(outcome.kind, 'committed');
    held.parent = slot;
    held.next = slot + 1;
  }
  await store.pin({ uuid: UUID, slot: ADOPTED, name: parseSnapshotName('of-0.1.0') });
  await store.tidy({ uuid: UUID, epoch: held.epoch, keep: 1 });
  const { generation: head } = await store.fetch({ uuid: UUID, slot: 'head', fallBack: false });
  expectState(t, head.capture, SECOND);
  expectState(t, (await store.fetchPin({ uuid: UUID, name: parseSnapshotName('of-0.1.0') })).capture, FIRST);
  await t.rejects(store.fetch({ uuid: UUID, slot: ADOPTED, fallBack: false }), {
    code: 'NO_SUCH_GENERATION',
  });
});
