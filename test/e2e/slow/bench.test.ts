/**
 * The benchmark works: every measurement can be made, and its results are written. No figure is looked at.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { runCommand } from '../../fixtures/process.js';
import { builtProgram } from '../../fixtures/program.js';
import { temporaryDirectory } from '../../fixtures/temporary-directory.js';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const TIMEOUT_MS = 540_000;

interface Results {
  readonly measured: readonly {
    readonly name: string;
    readonly outcome: {
      readonly table: { readonly rows: readonly unknown[] };
      readonly samples: Readonly<Record<string, readonly number[]>>;
    };
  }[];
}

t.test('npm run bench -- --quick makes every measurement once', async (t) => {
  await builtProgram();
  const out = await temporaryDirectory(t);
  const args = ['scripts/lib/run-program.mjs', 'scripts/bench/main.ts', '--quick', '--on', out, '--out', out];
  const { status, stdout, stderr } = await runCommand(process.execPath, args, {
    cwd: ROOT,
    timeoutMs: TIMEOUT_MS,
  });
  t.equal(status, 0, stderr);
  const { measured } = JSON.parse(await readFile(join(out, 'results.json'), 'utf8')) as Results;
  for (const { name, outcome } of measured) {
    t.ok(outcome.table.rows.length > 0, `${name} has a table`);
    t.ok(
      Object.values(outcome.samples).every((samples) => samples.every(Number.isFinite)),
      `${name} has numbers`,
    );
  }
  t.equal(stdout.toString(), await readFile(join(out, 'results.md'), 'utf8'));
  t.match(await readFile(join(out, 'chart.svg'), 'utf8'), /^<svg .*<\/svg>\n$/s);
  t.strictSame(
    (await readdir(out)).sort(),
    ['chart.svg', 'results.json', 'results.md'],
    'nothing else is left',
  );
});
