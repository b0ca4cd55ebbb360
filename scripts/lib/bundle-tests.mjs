/**
 * bundle-tests: test files as programs that node runs as they are. What they share is compiled once, where a loader would compile it anew in
 * every one of their processes.
 */
import { readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Within the project, so that packages are found. */
const OUTPUT = join(root, 'node_modules/.cache/swtpm-mirror-tests');

/**
 * @param files paths of test files, relative to the project
 * @returns for each file the path of its program
 */
export async function bundleTests(files) {
  await rm(OUTPUT, { recursive: true, force: true });
  await build({
    absWorkingDir: root,
    entryPoints: files,
    outdir: OUTPUT,
    outbase: root,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    target: 'node20',
    format: 'esm',
    sourcemap: 'linked',
    logLevel: 'warning',
    plugins: [keepPlaces],
  });
  return new Map(files.map((file) => [file, join(OUTPUT, file.replace(/\.ts$/, '.mjs'))]));
}

/** A module goes on to find what lies beside its source. */
const keepPlaces = {
  name: 'keep-places',
  setup: ({ onLoad }) => {
    onLoad({ filter: /\/test\/.*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      const contents = source
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href))
        .replaceAll('import.meta.filename', JSON.stringify(path))
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(path)));
      return { contents, loader: 'ts' };
    });
  },
};
