import { appendFile, mkdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { stampState } from '../../../src/host/state-stamp.js';
import { blob, makeHost, put } from '../../fakes/host-rig.js';

const PERMALL = 'tpm2/tpm2-00.permall';

/** Changes that reading could find, by what they are. */
const CHANGES: Readonly<Record<string, (domain: string, nvram: string) => Promise<unknown>>> = {
  'a state file renamed into place': async (domain) => {
    const temporary = join(domain, 'tpm2/TMP2-00.permall');
    await writeFile(temporary, blob('used.permall'));
    await rename(temporary, join(domain, PERMALL));
  },
  'a state file written in place': (domain) => appendFile(join(domain, PERMALL), 'x'),
  'a state file that is gone': (domain) => rm(join(domain, PERMALL)),
  'a state file that appeared': (domain) => writeFile(join(domain, 'tpm2/tpm2-00.savestate'), 'x'),
  'a TPM that appeared': (domain) => mkdir(join(domain, 'tpm1.2')),
  'a directory that is gone': (domain) => rm(domain, { recursive: true }),
  'an NVRAM written in place': (_, nvram) => appendFile(nvram, 'x'),
  'an NVRAM that is gone': (_, nvram) => rm(nvram),
};

for (const [what, change] of Object.entries(CHANGES)) {
  void t.test(`another stamp: ${what}`, async (t) => {
    const { context, paths, nvramPath } = await makeHost(t);
    await put(paths.swtpmDirectory, { [PERMALL]: blob('used.permall') });
    await writeFile(nvramPath, 'variables');
    // So that the change is not of the same tick.
    for (const name of ['', 'tpm2', PERMALL]) await utimes(join(paths.swtpmDirectory, name), 1000, 1000);
    const before = await stampState(context.fs, paths);
    await change(paths.swtpmDirectory, nvramPath);
    t.not(await stampState(context.fs, paths, before), before);
  });
}

void t.test('the same stamp as long as nothing happens', async (t) => {
  const { context, paths } = await makeHost(t);
  await put(paths.swtpmDirectory, { [PERMALL]: blob('used.permall') });
  const before = await stampState(context.fs, paths);
  t.equal(await stampState(context.fs, paths, before), before);
});

void t.test('an NVRAM that was missing is looked for, and so is one that is known of only now', async (t) => {
  const { context, paths, nvramPath } = await makeHost(t);
  await put(paths.swtpmDirectory, { [PERMALL]: blob('used.permall') });
  const unknown = await stampState(context.fs, { ...paths, nvramPath: undefined });
  const missing = await stampState(context.fs, paths, unknown);
  t.not(missing, unknown);
  t.equal(await stampState(context.fs, paths, missing), missing);
  await writeFile(nvramPath, 'variables');
  t.not(await stampState(context.fs, paths, missing), missing);
});
