import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import t from 'tap';

/** A program whose only life is `work`, as a process of its own. */
async function lived(work: string): Promise<{ status: number | null; stderr: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'life-'));
  try {
    const entry = join(directory, 'entry.ts');
    const program = join(directory, 'entry.cjs');
    const life = JSON.stringify(join(process.cwd(), 'src/wiring/life.ts'));
    await writeFile(entry, `import { live } from ${life};\nlive(${work});\n`);
    await build({ entryPoints: [entry], outfile: program, bundle: true, platform: 'node', format: 'cjs' });
    const { status, stderr } = spawnSync(process.execPath, [program], { encoding: 'utf8', timeout: 30_000 });
    return { status, stderr };
  } finally {
    await rm(directory, { recursive: true });
  }
}

const NEVER = 'new Promise(() => undefined)';

t.test('work that comes to no end is a failure, and says so, however it stops', async (t) => {
  for (const work of [
    `() => ${NEVER}`,
    `async () => { await ${NEVER}; return 0; }`,
    `async () => { for await (const each of { [Symbol.asyncIterator]: () => ({ next: () => ${NEVER} }) }) return each; return 0; }`,
    `async () => { setTimeout(() => undefined, 5); return await ${NEVER}; }`,
    `() => Promise.race([${NEVER}, ${NEVER}])`,
  ]) {
    const { status, stderr } = await lived(work);
    t.equal(status, 1, work);
    t.match(stderr, /^swtpm-mirror: INTERNAL: .*\n {2}.*\n$/, work);
  }
});

t.test('work that ends gives its own status; what it throws is a failure', async (t) => {
  for (const status of [0, 1, 2, 3, 6]) {
    t.strictSame(await lived(`async () => ${status}`), { status, stderr: '' });
    t.strictSame(
      await lived(`async () => ${status}, (status) => process.exit(status)`),
      { status, stderr: '' },
      'at once',
    );
  }
  const thrown = await lived(`async () => { throw new Error('on purpose'); }`);
  t.equal(thrown.status, 1);
  t.match(thrown.stderr, /on purpose/);
  t.notMatch(thrown.stderr, /INTERNAL/);
});
