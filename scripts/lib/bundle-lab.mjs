/**
 * bundle-lab: the lab's programs, and the conformance suites that it runs in its guests, as files that node runs as they are.
 *
 *   node scripts/lib/bundle-lab.mjs DIRECTORY      within the project, so that packages are found
 */
import { build } from 'esbuild';
import { keepPlaces } from './bundle-tests.mjs';

const ENTRIES = [
  'test/lab/main.ts',
  'test/lab/guest/driver.ts',
  'test/conformance/node-filesystem.test.ts',
  'test/conformance/local-share-store.test.ts',
];

await build({
  entryPoints: ENTRIES,
  outdir: process.argv[2],
  entryNames: '[name]',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  packages: 'external',
  platform: 'node',
  target: 'node20',
  format: 'esm',
  logLevel: 'warning',
  plugins: [keepPlaces],
});
