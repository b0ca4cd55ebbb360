import { execFileSync } from 'node:child_process';
import t from 'tap';
import { decodeOvirt, encodeOvirt } from '../../../src/bundle/ovirt.js';
import { compressor } from '../../../src/wiring/compressor.js';
import { tpmCapture, UUID } from '../../fixtures/tpm-captures.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const CAPTURE = tpmCapture(7);
const PERMALL = readStateBlob('fresh-a.permall').data;

t.test('what oVirt is given comes back the same', async (t) => {
  const data = await encodeOvirt(CAPTURE, compressor);
  t.match(data.tpm, /^[A-Za-z0-9+/]+={0,2}$/);
  t.match(data.nvram, /^=0=[A-Za-z0-9+/]+={0,2}$/);
  const { digest, uuid } = await decodeOvirt(UUID, data, compressor);
  t.equal(digest, CAPTURE.digest);
  t.equal(uuid, UUID);
});

t.test('GNU tar unpacks the TPM as libvirt has it on a host', async (t) => {
  const directory = await temporaryDirectory(t);
  const { tpm } = await encodeOvirt(CAPTURE, compressor);
  const input = Buffer.from(tpm, 'base64');
  execFileSync('tar', ['--extract', '--xz', `--directory=${directory}`, '--no-same-owner'], { input });
  t.strictSame(await readFile(join(directory, 'tpm2/tpm2-00.permall')), Buffer.from(PERMALL));
});

t.test(
  'what vdsm makes of a directory is read: its lock passed over, marked or not, with line breaks',
  async (t) => {
    const directory = await temporaryDirectory(t);
    await mkdir(join(directory, 'tpm2'));
    await writeFile(join(directory, 'tpm2/tpm2-00.permall'), PERMALL);
    await writeFile(join(directory, 'tpm2/.lock'), '');
    const tar = execFileSync('tar', ['--create', '--xz', '--sort=name', `--directory=${directory}`, '.']);
    const nvram = Buffer.from('variables');
    const wrapped = `=0=${Buffer.from(await compressor.compress('bzip2', tar)).toString('base64')}`;
    const broken = tar.toString('base64').replaceAll(/.{60}/g, '$&\n');
    for (const tpm of [tar.toString('base64'), broken, wrapped]) {
      const { files } = await decodeOvirt(UUID, { tpm, nvram: nvram.toString('base64') }, compressor);
      t.strictSame(
        files.map(({ role, name }) => `${role}/${name}`),
        ['tpm2/tpm2-00.permall', 'nvram/nvram.fd'],
      );
      t.strictSame(Buffer.from(files[0]?.data ?? []), Buffer.from(PERMALL));
      t.strictSame(Buffer.from(files[1]?.data ?? []), nvram);
    }
  },
);

t.test('G6: anything else is refused, and says why without what it holds', async (t) => {
  const { tpm } = await encodeOvirt(CAPTURE, compressor);
  const empty = Buffer.from(await compressor.compress('xz', new Uint8Array(1024))).toString('base64');
  for (const [text, why] of [
    ['', 'is not base64'],
    ['not base64!', 'is not base64'],
    [`=1=${tpm}`, 'encoding that is not known'],
    [tpm.slice(0, tpm.length / 2), 'damaged'],
    [Buffer.from('plain').toString('base64'), 'damaged'],
    [empty, 'no state file'],
  ] as const) {
    await t.rejects(decodeOvirt(UUID, { tpm: text }, compressor), {
      code: 'GENERATION_DAMAGED',
      message: new RegExp(why),
    });
  }
});

t.test('data that unpacks to more than is accepted is not unpacked to its end', async (t) => {
  const bomb = await compressor.compress('bzip2', new Uint8Array(4 * 1024 * 1024));
  await t.rejects(compressor.decompress('bzip2', bomb, 1024 * 1024), { message: /more than 1048576 bytes/ });
});
