/**
 * The lint configuration catches what it claims to catch, and nothing beside it.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import t from 'tap';
import tseslint from 'typescript-eslint';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const CONFIG = join(ROOT, '.config/eslint.config.js');

interface Snippet {
  readonly rule: string;
  /** Need not exist, except for rules that use types. */
  readonly file: string;
  readonly code: string;
}

const imported = (from: string): string => `import * as it from '${from}';\nexport { it };\n`;
const numbered = (count: number): string =>
  Array.from({ length: count }, (_, at) => `export const value${at} = ${at};\n`).join('');

/** Imports by the importing file and what it imports; every one runs the wrong way or goes around a port. */
const WRONG_IMPORTS: readonly (readonly [file: string, from: string])[] = [
  ['src/model/x.ts', '../bundle/x.js'],
  ['src/model/x.ts', '../volume/x.js'],
  ['src/model/x.ts', '../main.js'],
  ['src/bundle/x.ts', '../volume/x.js'],
  ['src/volume/x.ts', '../host/x.js'],
  ['src/volume/x.ts', '../libvirt/x.js'],
  ['src/volume/x.ts', '../storage/x.js'],
  ['src/host/x.ts', '../volume/x.js'],
  ['src/host/x.ts', '../libvirt/x.js'],
  ['src/libvirt/x.ts', '../host/x.js'],
  ['src/libvirt/x.ts', '../volume/x.js'],
  ['src/libvirt/x-adapter.ts', '../volume/x.js'],
  ['src/agent/x.ts', '../cli/x.js'],
  ['src/agent/x.ts', '../storage/x.js'],
  ['src/agent/x.ts', './domain/x.js'],
  ['src/agent/share/x.ts', '../start/x.js'],
  ['src/agent/start/x.ts', '../domain/x.js'],
  ['src/agent/domain/x.ts', '../watch/x.js'],
  ['src/agent/watch/x.ts', '../api/x.js'],
  ['src/agent/api/x.ts', '../../cli/x.js'],
  ['src/agent/domain/x.ts', '../../storage/x.js'],
  ['src/cli/x.ts', '../storage/x.js'],
  ['src/cli/deep/x.ts', '../../storage/x.js'],
  ['src/storage/x.ts', '../host/x.js'],
  ['src/storage/node-x.ts', '../agent/x.js'],
  ['src/model/x.ts', 'node:fs'],
  ['src/volume/x.ts', 'node:fs/promises'],
  ['src/agent/x.ts', 'fs-extra'],
  ['src/agent/x.ts', 'chokidar'],
  ['src/volume/x.ts', 'proper-lockfile'],
  ['src/libvirt/x.ts', 'write-file-atomic'],
  ['src/cli/x.ts', 'fs-extra'],
  ['src/host/x.ts', 'fs'],
  ['src/host/x.ts', 'node:child_process'],
  ['src/agent/x.ts', 'node:child_process'],
  ['src/cli/x.ts', 'node:child_process'],
  ['src/agent/x.ts', 'node:timers/promises'],
  ['src/storage/x.ts', 'node:perf_hooks'],
  ['src/volume/x.ts', 'node:crypto'],
];

const RIGHT_IMPORTS: readonly (readonly [file: string, from: string])[] = [
  ['src/bundle/x.ts', '../model/x.js'],
  ['src/volume/x.ts', '../bundle/x.js'],
  ['src/host/x.ts', '../bundle/x.js'],
  ['src/agent/x.ts', '../volume/x.js'],
  ['src/agent/x.ts', '../host/x.js'],
  ['src/agent/start/x.ts', '../agent-context.js'],
  ['src/agent/domain/x.ts', '../start/x.js'],
  ['src/agent/api/x.ts', '../../model/x.js'],
  ['src/cli/x.ts', '../agent/x.js'],
  ['src/cli/x.ts', '../agent/api/x.js'],
  ['src/storage/x.ts', '../volume/x.js'],
  ['src/main.ts', './storage/x.js'],
  ['src/wiring/x.ts', '../storage/x.js'],
  ['src/main.ts', 'node:child_process'],
  ['src/storage/node-x.ts', 'node:fs/promises'],
  ['src/storage/node-x.ts', 'node:timers/promises'],
  ['src/storage/x.ts', 'node:child_process'],
  ['src/host/x.ts', 'chokidar'],
  ['src/libvirt/x.ts', 'node:child_process'],
  ['src/cli/x.ts', 'node:fs'],
  ['src/volume/deep/x.ts', '../../model/x.js'],
];

const SNIPPETS: readonly Snippet[] = [
  {
    rule: 'no-restricted-imports',
    file: 'src/model/hash.ts',
    code: `export { randomBytes } from 'node:crypto';`,
  },
  { rule: 'no-restricted-properties', file: 'src/agent/x.ts', code: 'export const now = Date.now();' },
  { rule: 'no-restricted-properties', file: 'src/agent/x.ts', code: 'export const dice = Math.random();' },
  { rule: 'no-restricted-properties', file: 'src/agent/x.ts', code: 'export const t = process.hrtime();' },
  {
    rule: 'no-restricted-properties',
    file: 'src/agent/x.ts',
    code: 'export const s = AbortSignal.timeout(5);',
  },
  { rule: 'no-restricted-properties', file: 'src/agent/x.ts', code: 'globalThis.setTimeout(f, 5);' },
  { rule: 'no-restricted-globals', file: 'src/storage/x.ts', code: 'setTimeout(f, 5);' },
  { rule: 'no-restricted-globals', file: 'src/host/x.ts', code: 'setInterval(f, 5);' },
  { rule: 'no-restricted-globals', file: 'src/cli/x.ts', code: 'performance.now();' },
  { rule: 'no-restricted-globals', file: 'src/volume/x.ts', code: 'crypto.randomUUID();' },
  { rule: 'no-restricted-syntax', file: 'src/model/x.ts', code: 'export const now = new Date();' },
  { rule: 'no-restricted-syntax', file: 'src/model/x.ts', code: 'export const now = Date();' },
  {
    rule: 'no-restricted-syntax',
    file: 'src/model/x.ts',
    code: `export const it = import('../agent/x.js');`,
  },
  { rule: 'no-restricted-syntax', file: 'src/main.ts', code: 'export enum Colour { Red }' },
  { rule: 'no-restricted-syntax', file: 'src/host/node-x.ts', code: 'export class A { private a = 1; }' },
  { rule: 'no-console', file: 'src/agent/x.ts', code: `console.log('x');` },
  { rule: 'max-lines', file: 'src/agent/x.ts', code: numbered(521) },
  {
    rule: 'max-lines-per-function',
    file: 'src/agent/x.ts',
    code: `export function f() {\n${'  g();\n'.repeat(70)}}\n`,
  },
  {
    rule: 'complexity',
    file: 'src/agent/x.ts',
    code: `export const f = (a) => ${Array.from({ length: 21 }, (_, at) => `a === ${at}`).join(' || ')};`,
  },
  { rule: 'no-warning-comments', file: 'src/agent/x.ts', code: `// ${'TO' + 'DO'} later\nexport {};` },
  {
    rule: '@typescript-eslint/no-explicit-any',
    file: 'test/unit/x.test.ts',
    code: 'export const a: any = 1;',
  },
];

const TYPED_SNIPPETS: readonly Omit<Snippet, 'file'>[] = [
  {
    rule: '@typescript-eslint/no-floating-promises',
    code: 'export function f(): void {\n  Promise.resolve();\n}\n',
  },
  { rule: '@typescript-eslint/only-throw-error', code: `export function f(): never {\n  throw 'text';\n}\n` },
  {
    rule: '@typescript-eslint/switch-exhaustiveness-check',
    code: `export function f(a: 'x' | 'y'): number {\n  switch (a) {\n    case 'x':\n      return 1;\n  }\n  return 2;\n}\n`,
  },
];

/** Clean code that only an adapter may hold. */
const IMPURE_CODE = 'export const now = Date.now() + Math.random() + performance.now();\nsetTimeout(f, 5);\n';
const ADAPTERS = [
  'src/main.ts',
  'src/libvirt/virsh-adapter.ts',
  'src/storage/node-x.ts',
  'src/host/node-x.ts',
];

/** The configuration of the project without the rules that need types, so that a snippet's file need not exist. */
const untyped = new ESLint({
  cwd: ROOT,
  overrideConfigFile: CONFIG,
  overrideConfig: [{ files: ['**/*.ts'], ...tseslint.configs.disableTypeChecked }],
});
const typed = new ESLint({ cwd: ROOT, overrideConfigFile: CONFIG });

async function rulesBroken(eslint: ESLint, file: string, code: string): Promise<string[]> {
  const [result] = await eslint.lintText(code, { filePath: join(ROOT, file) });
  const messages = result?.messages ?? [];
  return messages.map((message) => message.ruleId ?? `not parsed: ${message.message}`);
}

t.test('an import that runs the wrong way, or around a port, is reported', async (t) => {
  for (const [file, from] of WRONG_IMPORTS) {
    const broken = await rulesBroken(untyped, file, imported(from));
    t.strictSame(broken, ['no-restricted-imports'], `${file} imports ${from}`);
  }
});

t.test('an import that runs the right way is not', async (t) => {
  for (const [file, from] of RIGHT_IMPORTS) {
    t.strictSame(await rulesBroken(untyped, file, imported(from)), [], `${file} imports ${from}`);
  }
});

t.test('code that breaks a rule is reported', async (t) => {
  for (const { rule, file, code } of SNIPPETS) {
    const broken = await rulesBroken(untyped, file, code);
    t.ok(broken.includes(rule), `${rule}: ${code.slice(0, 60)}`, { broken });
  }
  for (const { rule, code } of TYPED_SNIPPETS) {
    const broken = await rulesBroken(typed, 'src/model/errors.ts', code);
    t.ok(broken.includes(rule), rule, { broken });
  }
});

t.test('time, timers and randomness are for adapters', async (t) => {
  const purity = ['no-restricted-properties', 'no-restricted-globals'];
  for (const file of ADAPTERS) {
    const broken = await rulesBroken(untyped, file, IMPURE_CODE);
    t.notOk(
      broken.some((rule) => purity.includes(rule)),
      file,
      { broken },
    );
  }
  const broken = await rulesBroken(untyped, 'src/storage/x.ts', IMPURE_CODE);
  t.ok(
    purity.every((rule) => broken.includes(rule)),
    'an ordinary module',
    { broken },
  );
});
