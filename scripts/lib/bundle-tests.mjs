/**
 * bundle-tests: test files as programs that node runs as they are. What they share is compiled once, where a loader would compile it anew in
 * every one of their processes.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Within the project, so that packages are found. */
const CACHE = join(root, 'node_modules/.cache');

/**
 * @param files paths relative to the project
 * @param use is called with a map from each file to the path of its program, which is there until `use` has ended
 * @returns what `use` returns
 */
export async function withBundledTests(files, use) {
  await mkdir(CACHE, { recursive: true });
  const output = await mkdtemp(join(CACHE, 'tests-'));
  try {
    await bundle(files, output);
    return await use(new Map(files.map((file) => [file, join(output, file.replace(/\.ts$/, '.mjs'))])));
  } finally {
    await rm(output, { recursive: true, force: true });
  }
}

function bundle(files, output) {
  return build({
    absWorkingDir: root,
    entryPoints: files,
    outdir: output,
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
}

/** A module goes on to find what lies beside its source. */
export const keepPlaces = {
  name: 'keep-places',
  setup: ({ onLoad }) => {
    onLoad({ filter: /\/(test|scripts)\/.*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      const contents = source
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href))
        .replaceAll('import.meta.filename', JSON.stringify(path))
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(path)));
      return { contents, loader: 'ts' };
    });
  },
};
