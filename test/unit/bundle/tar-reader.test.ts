import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { decodeOvirt, type Compressor } from '../../../src/bundle/ovirt.js';
import { tarEntries, TarError } from '../../../src/bundle/tar-reader.js';
import { MirrorError } from '../../../src/model/errors.js';
import { readStateBlob } from '../../fixtures/state-blobs.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';
import { UUID } from '../../fixtures/tpm-captures.js';
import { tarOf } from './fixtures/bundles.js';

const PERMALL = Buffer.from(readStateBlob('fresh-a.permall').data);
const STATE = 'tpm2/tpm2-00.permall';
const BLOCK = 512;
/** Every typeflag that some tar knows, and some that none does. */
const FLAGS = Array.from('\0' + '01234567xgLKDMNSVXAz \u00ff');
const SIZES = [0, 1, 511, 512, 513, 1315, 4096, 10_000, 8 ** 11 - 1];

/** A header with a good checksum. */
function header(flag: string, name: string, size: number | Uint8Array): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name.slice(0, 100), 0, 'latin1');
  block.write('0000600\0', 100);
  if (typeof size === 'number') block.write(size.toString(8).padStart(11, '0'), 124);
  else block.set(size, 124);
  block.write('00000000000', 136);
  block.write(flag, 156, 'latin1');
  block.write('ustar\u000000', 257, 'latin1');
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

function padded(data: Uint8Array): Buffer {
  return Buffer.concat([data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

function file(name = STATE, data: Uint8Array = PERMALL): Buffer {
  return Buffer.concat([header('0', name, data.length), padded(data)]);
}

const END = Buffer.alloc(2 * BLOCK);

/** What is packed comes out as it is. */
const PLAIN: Compressor = {
  compress: (_kind, data) => Promise.resolve(data),
  decompress: (_kind, data) => Promise.resolve(data),
};

/** `read`, or the code of the refusal; what is neither is a fault, and so is what does not end. */
async function outcomeOf(tar: Uint8Array): Promise<string> {
  const reading = decodeOvirt(UUID, { tpm: Buffer.from(tar).toString('base64') }, PLAIN).then(
    ({ files }) => `read ${files.map(({ name, data }) => `${name} ${data.length}`).join()}`,
    (error: unknown) => {
      if (error instanceof MirrorError) return error.code;
      throw error;
    },
  );
  const never = new Promise<string>((resolve) => setTimeout(resolve, 2_000, 'never ended').unref());
  return await Promise.race([reading, never]);
}

t.test(
  'an entry of any kind, of any size, with its content or without, is read or refused, and ends',
  async (t) => {
    const read = `read tpm2-00.permall ${PERMALL.length}`;
    for (const flag of FLAGS) {
      for (const size of SIZES) {
        for (const content of [0, Math.min(size, 10_000)]) {
          const odd = Buffer.concat([header(flag, './tpm2/', size), padded(Buffer.alloc(content, 'x'))]);
          for (const tar of [
            Buffer.concat([odd, file(), END]),
            Buffer.concat([file(), odd, END]),
            Buffer.concat([file(), odd]),
          ]) {
            const outcome = await outcomeOf(tar);
            if (outcome !== read && outcome !== 'GENERATION_DAMAGED') {
              t.fail(`${JSON.stringify(flag)} of ${size} bytes, ${content} there: ${outcome}`);
            }
          }
        }
      }
    }
    t.equal(await outcomeOf(Buffer.concat([header('5', './tpm2/', 0), file(), END])), read);
  },
);

t.test('a directory, a link or a device that claims to have content is refused', async (t) => {
  for (const flag of '123456') {
    const odd = Buffer.concat([header(flag, './tpm2/', 700), padded(Buffer.alloc(700, 'x'))]);
    t.equal(await outcomeOf(Buffer.concat([odd, file(), END])), 'GENERATION_DAMAGED', flag);
    t.equal(
      await outcomeOf(Buffer.concat([header(flag, STATE, 0), END])),
      'GENERATION_DAMAGED',
      `${flag} in the place of a state`,
    );
  }
});

t.test('sizes that are no number, or more than there is, are refused', async (t) => {
  for (const size of [
    Buffer.from('99999999999'),
    Buffer.from('-0000000001'),
    Buffer.from('7777 77777 '),
    Buffer.from([0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
  ]) {
    const tar = Buffer.concat([header('0', STATE, size), padded(PERMALL), END]);
    t.equal(await outcomeOf(tar), 'GENERATION_DAMAGED', size.toString('hex'));
  }
  const large = Buffer.alloc(12);
  large[0] = 0x80;
  large.writeUInt32BE(PERMALL.length, 8);
  t.equal(
    await outcomeOf(Buffer.concat([header('0', STATE, large), padded(PERMALL), END])),
    `read tpm2-00.permall ${PERMALL.length}`,
    'of base 256',
  );
});

function pax(...records: string[]): Buffer {
  const content = Buffer.from(
    records
      .map((record) => {
        const length = Buffer.byteLength(record) + 2;
        return `${length + String(length).length} ${record}\n`;
      })
      .join(''),
  );
  return Buffer.concat([header('x', 'PaxHeaders/x', content.length), padded(content)]);
}

t.test(
  'extended headers: names, sizes and times as pax and GNU tar write them; bombs and sparse files not',
  async (t) => {
    const read = `read tpm2-00.permall ${PERMALL.length}`;
    const under = (extension: Buffer, name = 'short', size = PERMALL.length): Promise<string> =>
      outcomeOf(Buffer.concat([extension, header('0', name, size), padded(PERMALL), END]));
    const long = Buffer.concat([header('L', '././@LongLink', STATE.length), padded(Buffer.from(STATE))]);
    t.equal(await under(long), read, 'a GNU long name');
    t.equal(await under(pax(`path=${STATE}`, 'mtime=1700000000.25')), read, 'a pax name and time');
    t.equal(await under(pax(`path=${STATE}`, `size=${PERMALL.length}`), 'short', 0), read, 'a pax size');
    t.equal(await under(pax('comment=x'.repeat(20)), STATE), read, 'what is no concern of ours');
    for (const [name, extension] of [
      ['a sparse map', pax(`path=${STATE}`, 'GNU.sparse.major=1')],
      ['a size that is none', pax(`path=${STATE}`, 'size=99999999999999999999')],
      ['a negative size', pax(`path=${STATE}`, 'size=-1')],
      ['a huge size', pax(`path=${STATE}`, 'size=999999999999999')],
      ['a bomb of records', pax(...Array.from({ length: 40_000 }, (_, at) => `k${at}=x`))],
      ['a record that is not whole', Buffer.concat([header('x', 'x', 9), padded(Buffer.from('99 path=x'))])],
      ['a record of length 0', Buffer.concat([header('x', 'x', 9), padded(Buffer.from('0 path=x\n'))])],
      ['no record', Buffer.concat([header('x', 'x', 4), padded(Buffer.from('\0\0\0\0'))])],
      ['a name of many', Buffer.concat([header('L', 'x', 100_000), padded(Buffer.alloc(100_000, 'y'))])],
    ] as const) {
      t.equal(await under(extension, STATE), 'GENERATION_DAMAGED', name);
    }
    const many = Buffer.concat(Array.from({ length: 10_000 }, () => header('0', 'x', 0)));
    t.equal(await outcomeOf(Buffer.concat([many, file(), END])), 'GENERATION_DAMAGED', 'a crowd of entries');
  },
);

t.test('what GNU tar writes of a directory, in any of its formats, is read', async (t) => {
  const directory = await temporaryDirectory(t);
  await mkdir(join(directory, 'tpm2'));
  await writeFile(join(directory, STATE), PERMALL);
  for (const format of ['gnu', 'oldgnu', 'pax', 'posix', 'ustar']) {
    const tar = execFileSync('tar', ['--create', `--format=${format}`, `--directory=${directory}`, '.']);
    t.equal(await outcomeOf(tar), `read tpm2-00.permall ${PERMALL.length}`, format);
  }
});

t.test(
  'any bytes come to an end, as entries within the archive or as an error of its structure',
  async () => {
    const tar = await tarOf([{ header: { name: STATE }, data: PERMALL }]);
    const byte = fc.record({ at: fc.nat(tar.length - 1), value: fc.nat(255) });
    fc.assert(
      fc.property(
        fc.array(byte, { maxLength: 6 }),
        fc.nat(tar.length),
        fc.boolean(),
        (bytes, length, mend) => {
          const copy = Buffer.from(tar.subarray(0, length));
          for (const { at, value } of bytes) if (at < copy.length) copy[at] = value;
          if (mend && copy.length >= BLOCK) {
            copy.fill(' ', 148, 156);
            const sum = copy.subarray(0, BLOCK).reduce((total, each) => total + each, 0);
            copy.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
          }
          try {
            for (const { content, size } of tarEntries(copy)) if (content().length !== size) return false;
          } catch (error) {
            return error instanceof TarError;
          }
          return true;
        },
      ),
      { numRuns: 3000 },
    );
  },
);
