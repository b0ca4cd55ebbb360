/**
 * build: bundle the program into dist/: the executable, swtpm-mirror.cjs, and beside it the parts that it loads when it needs them. Each is one
 * file with everything in it. The executable holds what libvirt's hook needs and no more, because every start of a VM waits for the parsing of it.
 *
 * `--into DIR` builds into another directory, which is emptied; `--metafile FILE` tells what is in each file. With `--if-possible` (npm's `prepare`), a missing bundler is explained and is no failure: an installation that leaves the
 * development dependencies out cannot build, and must not be stopped by that.
 */
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values: options } = parseArgs({
  options: {
    into: { type: 'string', default: 'dist' },
    metafile: { type: 'string' },
    'if-possible': { type: 'boolean' },
  },
});
const PARTS = ['command-line', 'storage-entry', 'age-library'];
const EXECUTABLE = 0o755;

/** The bundler, or `undefined` when it is not installed. */
async function loadBundler() {
  try {
    return await import('esbuild');
  } catch (error) {
    if (error.code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

/** What is imported when it is needed stays a file of its own. */
const partsApart = {
  name: 'parts-apart',
  setup: ({ onResolve }) => {
    onResolve({ filter: /\.js$/ }, ({ path, kind }) => {
      const part = PARTS.find((name) => path.endsWith(`/${name}.js`));
      return part && kind === 'dynamic-import' ? { path: `./${part}.cjs`, external: true } : undefined;
    });
  },
};

async function build(bundler) {
  process.chdir(root);
  const { version } = JSON.parse(await readFile('package.json', 'utf8'));
  await rm(options.into, { recursive: true, force: true });
  const { metafile } = await bundler.build({
    entryPoints: [
      { in: 'src/main.ts', out: 'swtpm-mirror' },
      ...PARTS.map((part) => ({ in: `src/wiring/${part}.ts`, out: part })),
    ],
    outdir: options.into,
    metafile: true,
    outExtension: { '.js': '.cjs' },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    // `import()` would start a loader of its own beside that for CommonJS.
    supported: { 'dynamic-import': false },
    plugins: [partsApart],
    sourcemap: 'linked',
    legalComments: 'eof',
    define: { PROGRAM_VERSION: JSON.stringify(version) },
    banner: { js: '#!/usr/bin/env node' },
    logLevel: 'warning',
  });
  await chmod(join(options.into, 'swtpm-mirror.cjs'), EXECUTABLE);
  if (options.metafile) await writeFile(options.metafile, JSON.stringify(metafile));
}

const bundler = await loadBundler();
if (bundler) {
  // The bundler has printed what is wrong.
  await build(bundler).catch(() => (process.exitCode = 1));
} else {
  console.error(`build: esbuild is not installed, so the program was not built`);
  console.error('build: run `npm ci --include=dev`, then `npm run build`');
  process.exitCode = options['if-possible'] ? 0 : 1;
}
