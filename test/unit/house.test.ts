/**
 * The tree keeps its shape: what stands where, how it is called, and what is never in it.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { ERROR_CODES } from '../../src/model/errors.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const TOP_LEVEL = [
  'LICENSE',
  'README.md',
  'package-lock.json',
  'package.json',
  'scripts',
  'src',
  'test',
  'tsconfig.json',
];
const NOT_OURS = ['node_modules', 'dist', '.git', '.tap'];
const PROSE_NAMES = ['ARCHITECTURE.md', 'README.md', 'RESULTS.md', 'LICENSE'];
const README_BYTES_MAX = 9 * 1024;
const KEBAB_CASE = /^\.?[a-z0-9]+([-.][a-z0-9]+)*$/;
/** They say that a thing is there and not what it is for. */
const EMPTY_NAMES = ['util', 'utils', 'helper', 'helpers', 'manager', 'common', 'misc'];
/** The making of the project has no place in it. Built from parts, so that this file does not hold them. */
const FOREIGN_WORDS = new RegExp(
  [
    ['cla', 'ude'],
    ['anthr', 'opic'],
    ['chat', 'gpt'],
    ['open', 'ai\\b'],
    ['co', 'pilot'],
    ['\\bl', 'lm\\b'],
    ['registry\\.npm', 'js'],
    ['artif', 'actory'],
    ['(?<![\\w.])/wo', 'rk/'],
    ['/tmp/br', 'ief'],
    ['\\bissue #', '\\d'],
  ]
    .map((parts) => parts.join(''))
    .join('|'),
  'i',
);

/** Every file of the project, relative to its root. */
async function projectFiles(directory = ''): Promise<string[]> {
  const files: string[] = [];
  for (const entry of await readdir(join(ROOT, directory), { withFileTypes: true })) {
    if (NOT_OURS.includes(entry.name)) continue;
    const path = join(directory, entry.name);
    files.push(...(entry.isDirectory() ? await projectFiles(path) : [path]));
  }
  return files.sort();
}

async function contentsOf(files: readonly string[]): Promise<{ file: string; text: string }[]> {
  return await Promise.all(
    files.map(async (file) => ({ file, text: await readFile(join(ROOT, file), 'latin1') })),
  );
}

t.test('the top level holds only what a stranger expects there', async (t) => {
  const names = (await readdir(ROOT)).filter((name) => !NOT_OURS.includes(name) && !name.startsWith('.'));
  t.strictSame(
    names.filter((name) => !TOP_LEVEL.includes(name)),
    [],
  );
});

t.test('files and directories have kebab-case names that say something', async (t) => {
  const names = (await projectFiles()).flatMap((file) => file.split('/').map((name) => ({ file, name })));
  const wrong = names.filter(
    ({ name }) =>
      !PROSE_NAMES.includes(name) &&
      (!KEBAB_CASE.test(name) || name.split(/[-.]/).some((word) => EMPTY_NAMES.includes(word))),
  );
  t.strictSame(
    wrong.map(({ file }) => file),
    [],
  );
});

t.test('nothing names how the project was made or where', async (t) => {
  const found = (await contentsOf(await projectFiles())).map(
    ({ file, text }) => `${file}: ${FOREIGN_WORDS.exec(text)?.[0] ?? ''}`,
  );
  t.strictSame(
    found.filter((line) => !line.endsWith(': ')),
    [],
  );
});

t.test('README is short, and every link of the documentation leads to a file', async (t) => {
  const pages = await contentsOf((await projectFiles()).filter((file) => extname(file) === '.md'));
  const files = new Set(await projectFiles());
  const dead = pages.flatMap(({ file, text }) =>
    [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)\s]*)?\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !/^[a-z]+:/.test(target) && !files.has(join(dirname(file), target)))
      .map((target) => `${file}: ${target}`),
  );
  t.strictSame(dead, []);
  const readme = pages.find(({ file }) => file === 'README.md')?.text ?? '';
  t.ok(readme.length <= README_BYTES_MAX, `README has ${String(readme.length)} bytes`);
});

t.test('the manual explains every error code', async (t) => {
  const manual = await readFile(join(ROOT, 'src/docs/troubleshooting.md'), 'utf8');
  t.strictSame(
    ERROR_CODES.filter((code) => !manual.includes(`\`${code}\``)),
    [],
  );
});

t.test('every source file begins by saying what it is for', async (t) => {
  const sources = await contentsOf((await projectFiles('src')).filter((file) => extname(file) === '.ts'));
  const silent = sources.filter(({ file, text }) => !text.startsWith(`/**\n * ${basename(file, '.ts')}: `));
  t.strictSame(
    silent.map(({ file }) => file),
    [],
  );
});

/** The files that a source file imports, by their paths. */
function importsOf(file: string, text: string): string[] {
  return [...text.matchAll(/ from '(\.[^']+)\.js'/g)].map(
    ([, path = '']) => `${join(dirname(file), path)}.ts`,
  );
}

t.test('imports never go round in a circle', async (t) => {
  const sources = await contentsOf((await projectFiles('src')).filter((file) => extname(file) === '.ts'));
  const imports = new Map(sources.map(({ file, text }) => [file, importsOf(file, text)]));
  const done = new Set<string>();
  const circles: string[] = [];
  const follow = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) circles.push([...way.slice(way.indexOf(file)), file].join(' -> '));
    if (done.has(file) || way.includes(file)) return;
    for (const next of imports.get(file) ?? []) follow(next, [...way, file]);
    done.add(file);
  };
  for (const file of imports.keys()) follow(file, []);
  t.strictSame(circles, []);
});
