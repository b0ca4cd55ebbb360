/**
 * bundle-lab: the lab's programs, and the conformance suites that it runs in its guests, as files that node runs as they are.
 *
 *   node scripts/lib/bundle-lab.mjs DIRECTORY      within the project, so that packages are found
 */
import { build } from 'esbuild';
import { keepPlaces } from './bundle-tests.mjs';

const PROGRAMS = ['test/lab/main.ts', 'test/lab/guest/driver.ts'];
const SUITES = ['test/conformance/node-filesystem.test.ts', 'test/conformance/local-share-store.test.ts'];

async function bundle(entryPoints, options) {
  await build({
    entryPoints,
    outdir: process.argv[2],
    entryNames: '[name]',
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    logLevel: 'warning',
    plugins: [keepPlaces],
    ...options,
  });
}

await bundle(PROGRAMS, { packages: 'external' });
// tap is hundreds of files, and each takes its time in a guest. What it has from CommonJS asks for `require`.
const require =
  "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);";
await bundle(SUITES, { banner: { js: require } });
