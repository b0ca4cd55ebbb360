/**
 * bundle-simulator: the simulator and the sources under test as one file, which runs several times faster than through a loader.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * @param entry path of the simulator's program in the project
 * @param output the bundle
 * @param source directory that stands in the place of `src/`
 */
export async function bundleSimulator({ entry, output, source = join(root, 'src') }) {
  await build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: output,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    sourcemap: 'inline',
    logLevel: 'warning',
    nodePaths: [join(root, 'node_modules')],
    plugins: [inPlaceOfSource(source)],
  });
}

function inPlaceOfSource(source) {
  return {
    name: 'in-place-of-src',
    setup: ({ onResolve }) => {
      onResolve({ filter: /^(\.\.\/)+src\// }, ({ path }) => ({
        path: join(source, path.replace(/^(\.\.\/)+src\//, '').replace(/\.js$/, '.ts')),
      }));
    },
  };
}
