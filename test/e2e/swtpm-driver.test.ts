/**
 * The drivers of the real swtpm that the other end-to-end tests rest on: what is written is there, by every way of reading it.
 */
import { cp, mkdir, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { manufacture, SwtpmProcess, type SwtpmOptions } from '../fixtures/swtpm.js';
import { temporaryDirectory, type TestScope } from '../fixtures/temporary-directory.js';

const INDEX = 0x01500016;
const KEY_HANDLE = 0x81000001;
const DATA = Buffer.from('the disk key is sealed to this TPM');

async function directories(t: TestScope): Promise<{ base: string; state: string; run: string }> {
  const base = await temporaryDirectory(t);
  const state = join(base, 'state');
  const run = join(base, 'run');
  await mkdir(state);
  await mkdir(run);
  return { base, state, run };
}

async function startFor(t: TestScope, options: SwtpmOptions): Promise<SwtpmProcess> {
  const swtpm = await SwtpmProcess.start(options);
  t.teardown(() => swtpm.kill());
  return swtpm;
}

t.test('an NV index is defined, written and read back', async (t) => {
  const { state, run } = await directories(t);
  const swtpm = await startFor(t, { stateDirectory: state, runDirectory: run });
  await swtpm.nvDefine(INDEX, DATA.length);
  await swtpm.nvWrite(INDEX, DATA);
  t.strictSame(await swtpm.nvRead(INDEX, DATA.length), DATA);
});

t.test(
  'NV data and a persistent key live on in a copy of the state, after a clean stop and after SIGKILL',
  async (t) => {
    const { base, state, run } = await directories(t);
    await manufacture(state);
    const first = await startFor(t, { stateDirectory: state, runDirectory: run });
    await first.nvDefine(INDEX, DATA.length);
    await first.nvWrite(INDEX, DATA);
    await first.makePersistentKey(KEY_HANDLE);
    const publicPart = await first.readPublic(KEY_HANDLE);
    await first.stop();

    const copied = join(base, 'copied');
    await cp(state, copied, { recursive: true });
    const second = await startFor(t, { stateDirectory: copied, runDirectory: run });
    t.strictSame(await second.nvRead(INDEX, DATA.length), DATA);
    t.strictSame(await second.readPublic(KEY_HANDLE), publicPart);
    const changed = Buffer.alloc(DATA.length, 7);
    await second.nvWrite(INDEX, changed);
    await second.kill();

    const third = await startFor(t, { stateDirectory: copied, runDirectory: run });
    t.strictSame(await third.nvRead(INDEX, DATA.length), changed);
  },
);

t.test('the direct client and tpm2-tools read what the other wrote', async (t) => {
  const { state, run } = await directories(t);
  const swtpm = await startFor(t, { stateDirectory: state, runDirectory: run });
  // Longer than one NV command carries.
  const long = Buffer.from(Array.from({ length: 1500 }, (_, at) => at % 251));
  const client = await swtpm.connect();
  await client.nvDefine(INDEX, long.length);
  await client.nvWrite(INDEX, long);
  t.strictSame(await client.nvRead(INDEX, long.length), long);
  await client.close();
  t.strictSame(await swtpm.nvRead(INDEX, long.length), long);

  const other = Buffer.alloc(long.length, 0xa5);
  await swtpm.nvWrite(INDEX, other);
  const again = await swtpm.connect();
  t.strictSame(await again.nvRead(INDEX, other.length), other);
  await t.rejects(again.nvDefine(INDEX, 8), /response code 0x14c/, 'the index is defined already');
  await t.rejects(again.nvRead(INDEX + 1, 8), /response code 0x28b/, 'no such handle');
  await again.close();
});

t.test('every direct write has changed the state file by the time it returns', async (t) => {
  const { state, run } = await directories(t);
  const swtpm = await startFor(t, { stateDirectory: state, runDirectory: run });
  const client = await swtpm.connect();
  t.teardown(() => client.close());
  await client.nvDefine(INDEX, 8);
  const seen = new Set<string>();
  const count = 50;
  for (let round = 0; round < count; round += 1) {
    await client.nvWrite(INDEX, Buffer.alloc(8, round + 1));
    seen.add(await readFile(join(state, 'tpm2-00.permall'), 'base64'));
  }
  t.equal(seen.size, count);
});

t.test('encrypted state starts with its key only', async (t) => {
  const { state, run } = await directories(t);
  const key = '00112233445566778899aabbccddeeff';
  await manufacture(state, { key });
  const swtpm = await startFor(t, { stateDirectory: state, runDirectory: run, key });
  await swtpm.makePersistentKey(KEY_HANDLE);
  await swtpm.stop();
  await t.rejects(SwtpmProcess.start({ stateDirectory: state, runDirectory: run }), /swtpm did not start/);
});

t.test('a TPM is manufactured as libvirt does it, with certificates; a TPM 1.2 too', async (t) => {
  const { base, state, run } = await directories(t);
  await manufacture(state, { certificates: true });
  t.ok((await readdir(state)).includes('tpm2-00.permall'));
  const old = join(base, 'old');
  await mkdir(old);
  await manufacture(old, { tpmVersion: '1.2' });
  t.ok((await readdir(old)).includes('tpm-00.permall'));
  const swtpm = await startFor(t, { stateDirectory: old, runDirectory: run, tpmVersion: '1.2' });
  await swtpm.kill();
});
