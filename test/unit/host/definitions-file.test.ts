import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { DefinitionsFile } from '../../../src/host/definitions-file.js';
import { NodeFileSystem } from '../../../src/storage/node-filesystem.js';
import { OTHER_UUID, UUID } from '../../fakes/host-rig.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

t.test('what was seen is read back, and what is damaged reads as if nobody had looked', async (t) => {
  const stateDirectory = await temporaryDirectory(t);
  const file = new DefinitionsFile({ fs: new NodeFileSystem(), stateDirectory });
  t.equal(await file.read(), undefined);
  const seen = {
    known: [UUID, OTHER_UUID],
    withoutTpm: [{ uuid: UUID, name: 'guest', recordedAt: '2026-01-01T00:00:00Z' }],
  };
  await file.write(seen);
  t.strictSame(await file.read(), seen);
  const path = join(stateDirectory, 'definitions.json');
  t.equal((await stat(path)).mode & 0o777, 0o600);
  for (const damaged of ['', '{', '{"format":2}', '{"format":1,"known":["../x"],"withoutTpm":[]}']) {
    await writeFile(path, damaged);
    t.equal(await file.read(), undefined, damaged);
  }
});
