/**
 * bundle-tests: test files as programs that node runs as they are. What they share is compiled once, where a
 * loader would compile it anew in every one of their processes. Small files share a process: to load tap takes
 * longer than most of them run.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));

const TAP_IN_GROUP = join(root, 'scripts/lib/tap-in-group.mjs');
/** Within the project, so that packages are found. */
const CACHE = join(root, 'node_modules/.cache');

/**
 * @param groups lists of paths relative to the project; the files of one share a process
 * @param use is called with `{ files, program }` for each group; the programs are there until it has ended
 * @returns what `use` returns
 */
export async function withBundledTests(groups, use) {
  await mkdir(CACHE, { recursive: true });
  const output = await mkdtemp(join(CACHE, 'tests-'));
  try {
    await bundle(groups, output);
    return await use(
      groups.map((files, at) => ({ files, program: join(output, `${programName(files, at)}.mjs`) })),
    );
  } finally {
    await rm(output, { recursive: true, force: true });
  }
}

function programName(files, at) {
  return files.length === 1 ? files[0].replace(/\.ts$/, '') : `group-${at}`;
}

function bundle(groups, output) {
  return build({
    absWorkingDir: root,
    entryPoints: groups.map((files, at) => ({
      in: files.length === 1 ? files[0] : `group:${at}`,
      out: programName(files, at),
    })),
    outdir: output,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    target: 'node20',
    format: 'esm',
    sourcemap: 'linked',
    logLevel: 'warning',
    plugins: [keepPlaces, inGroups(groups)],
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

/** A program for each group of several files, each of which takes the test that stands for it for tap. */
function inGroups(groups) {
  const grouped = new Set(groups.filter((files) => files.length > 1).flatMap((files) => files.map(pathOf)));
  return {
    name: 'in-groups',
    setup: ({ onResolve, onLoad }) => {
      onResolve({ filter: /^group:\d+$/ }, ({ path }) => ({ path, namespace: 'group' }));
      onResolve({ filter: /^tap$/ }, ({ importer }) =>
        grouped.has(importer) ? { path: TAP_IN_GROUP } : undefined,
      );
      onLoad({ filter: /.*/, namespace: 'group' }, ({ path }) => {
        const runs = groups[Number(path.slice('group:'.length))].map(
          (file) => `await runFile(${JSON.stringify(file)}, () => import(${JSON.stringify(pathOf(file))}));`,
        );
        const contents = `import { runFile } from ${JSON.stringify(TAP_IN_GROUP)};\n${runs.join('\n')}`;
        return { contents, loader: 'js', resolveDir: root };
      });
    },
  };
}

function pathOf(file) {
  return join(root, file);
}
