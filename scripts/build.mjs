/**
 * build: bundle src/main.ts and everything it needs into one executable file, dist/swtpm-mirror.cjs.
 *
 * With `--if-possible` (npm's `prepare`), a missing bundler is explained and is no failure: an installation that leaves the
 * development dependencies out cannot build, and must not be stopped by that.
 */
import { chmod, readFile, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const output = 'dist/swtpm-mirror.cjs';
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

async function build(bundler) {
  process.chdir(root);
  const { version } = JSON.parse(await readFile('package.json', 'utf8'));
  await rm('dist', { recursive: true, force: true });
  await bundler.build({
    entryPoints: ['src/main.ts'],
    outfile: output,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    sourcemap: 'linked',
    legalComments: 'eof',
    define: { PROGRAM_VERSION: JSON.stringify(version) },
    banner: { js: '#!/usr/bin/env node' },
    logLevel: 'warning',
  });
  await chmod(output, EXECUTABLE);
}

const bundler = await loadBundler();
if (bundler) {
  // The bundler has printed what is wrong.
  await build(bundler).catch(() => (process.exitCode = 1));
} else {
  console.error(`build: esbuild is not installed, so ${output} was not built`);
  console.error('build: run `npm ci --include=dev`, then `npm run build`');
  process.exitCode = process.argv.includes('--if-possible') ? 0 : 1;
}
