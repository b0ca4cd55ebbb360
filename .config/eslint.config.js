/**
 * The rules of the house, as far as a machine can hold them. test/unit/slow/lint-rules.test.ts proves that each of them bites.
 *
 * The rooms of src/ import one way: cli -> agent -> libvirt, host, volume -> bundle -> model. `storage` implements the ports and
 * only main.ts and wiring/ may know it. Within the agent: api -> watch -> domain -> start -> share -> what lies beside them.
 * A module that is not an adapter takes files, time, timers and randomness through a port.
 */
import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** What each room may import besides itself. */
const ROOMS = {
  model: [],
  bundle: ['model'],
  volume: ['bundle', 'model'],
  host: ['bundle', 'model'],
  libvirt: ['bundle', 'model'],
  agent: ['libvirt', 'host', 'volume', 'bundle', 'model'],
  cli: ['agent', 'libvirt', 'host', 'volume', 'bundle', 'model'],
  storage: ['volume', 'bundle', 'model'],
};

/** Within the agent: what each room may import besides itself and the files beside the rooms, which import none of them. */
const AGENT_ROOMS = {
  share: [],
  start: ['share'],
  domain: ['start', 'share'],
  watch: ['domain', 'start', 'share'],
  api: ['watch', 'domain', 'start', 'share'],
};

const NODE_FILE_MODULES = ['node:fs', 'node:fs/promises'];
const FILE_LIBRARIES = ['fs-extra', 'write-file-atomic', 'chokidar', 'proper-lockfile'];
const BARE_NODE_MODULES = [
  'fs',
  'fs/promises',
  'child_process',
  'crypto',
  'timers',
  'timers/promises',
  'perf_hooks',
];
const TIME_MODULES = ['node:timers', 'node:timers/promises', 'node:perf_hooks'];

const ROOMS_WITH_FILES = ['storage', 'host'];
const ROOMS_WITH_NODE_FILES = [...ROOMS_WITH_FILES, 'cli'];
const ROOMS_WITH_PROCESSES = ['storage', 'libvirt'];

/** The adapters that own time, timers and randomness. */
const WIRING = ['src/main.ts', 'src/wiring/*.ts'];
const ADAPTERS = [...WIRING, 'src/**/*-adapter.ts', 'src/storage/node-*.ts', 'src/host/node-*.ts'];

const SCRIPT_GLOBALS = ['Buffer', 'URL', 'clearInterval', 'console', 'performance', 'process', 'setInterval'];

const forbid = (names, message) => names.map((name) => ({ name, message }));

/** Imports forbidden in every module of a room, whether it is an adapter or not. */
function roomImports(room) {
  return [
    ...forbid(BARE_NODE_MODULES, 'write the node: prefix'),
    ...(ROOMS_WITH_NODE_FILES.includes(room) ? [] : forbid(NODE_FILE_MODULES, 'use the FileSystem port')),
    ...(ROOMS_WITH_FILES.includes(room) ? [] : forbid(FILE_LIBRARIES, 'only storage and host touch files')),
    ...(ROOMS_WITH_PROCESSES.includes(room)
      ? []
      : forbid(['node:child_process'], 'only storage, libvirt and the wiring start processes')),
  ];
}

const PURE_IMPORTS = [
  ...forbid(TIME_MODULES, 'use the Clock port'),
  ...forbid(['node:crypto'], 'use the Random port, or model/hash.ts'),
];

/** @param up leads out of the place whose imports are judged */
function directionOf(room, up, allowed) {
  return {
    regex: `^${up}(?!${['\\.\\./', ...allowed.map((name) => `${name}/`)].join('|')})`,
    message: `${room} may import ${allowed.join(', ') || 'no other room'}`,
  };
}

/** For imports that leave a room of src/. */
function outOf(room) {
  return directionOf(room, '(?:\\.\\./)+', ROOMS[room]);
}

function importRule(paths, ...patterns) {
  return { 'no-restricted-imports': ['error', { paths, patterns }] };
}

/** For one room: its imports in ordinary modules, and the same without the purity rules in its adapters. */
function roomConfigs(room) {
  const imports = roomImports(room);
  return [
    { files: [`src/${room}/**/*.ts`], rules: importRule([...imports, ...PURE_IMPORTS], outOf(room)) },
    { files: adaptersOf(room), rules: importRule(imports, outOf(room)) },
  ];
}

function agentConfigs() {
  const paths = [...roomImports('agent'), ...PURE_IMPORTS];
  const outward = directionOf('agent', '(?:\\.\\./){2,}', ROOMS.agent);
  const beside = {
    regex: '^\\./[^/]+/',
    message: 'what lies beside the rooms of the agent imports none of them',
  };
  return [
    {
      files: ['src/agent/*.ts'],
      rules: importRule(paths, outOf('agent'), beside),
    },
    ...Object.entries(AGENT_ROOMS).map(([room, allowed]) => ({
      files: [`src/agent/${room}/**/*.ts`],
      rules: importRule(paths, outward, directionOf(`agent/${room}`, '\\.\\./(?![^/]+$)', allowed)),
    })),
  ];
}

function adaptersOf(room) {
  const named = ROOMS_WITH_FILES.includes(room) ? [`src/${room}/**/node-*.ts`] : [];
  return [`src/${room}/**/*-adapter.ts`, ...named];
}

const HOUSE_SYNTAX = [
  { selector: 'TSEnumDeclaration', message: 'use a union of strings' },
  {
    selector: ':matches(PropertyDefinition, MethodDefinition[kind!="constructor"])[accessibility="private"]',
    message: 'use a #private member',
  },
  { selector: 'TSParameterProperty', message: 'declare the field and assign it' },
];

const PURE_SYNTAX = [
  { selector: 'NewExpression[callee.name="Date"][arguments.length=0]', message: 'use the Clock port' },
  { selector: 'CallExpression[callee.name="Date"]', message: 'use the Clock port' },
  {
    selector: 'ImportExpression',
    message: 'import statically, so that the direction of imports can be checked',
  },
];

const PURE_RULES = {
  'no-restricted-syntax': ['error', ...HOUSE_SYNTAX, ...PURE_SYNTAX],
  'no-restricted-globals': [
    'error',
    ...forbid(['setTimeout', 'setInterval', 'setImmediate', 'performance'], 'use the Clock port'),
    ...forbid(['crypto'], 'use the Random port, or model/hash.ts'),
  ],
  'no-restricted-properties': [
    'error',
    { object: 'Date', property: 'now', message: 'use the Clock port' },
    { object: 'process', property: 'hrtime', message: 'use the Clock port' },
    { object: 'AbortSignal', property: 'timeout', message: 'use the Clock port' },
    { object: 'Math', property: 'random', message: 'use the Random port' },
    ...['setTimeout', 'setInterval', 'setImmediate', 'performance', 'crypto'].map((property) => ({
      object: 'globalThis',
      property,
      message: 'use the Clock or Random port',
    })),
  ],
};

const IMPURE_RULES = {
  'no-restricted-syntax': ['error', ...HOUSE_SYNTAX],
  'no-restricted-globals': 'off',
  'no-restricted-properties': 'off',
};

export default defineConfig(
  { ignores: ['dist/**', 'node_modules/**', '.tap/**'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: true },
      ],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', ignoreRestSiblings: true }],
      // An async method of a port rejects where a plain one would throw, with or without an await in it.
      '@typescript-eslint/require-await': 'off',
    },
  },
  {
    files: ['src/**/*.ts', 'test/**/*.ts', 'scripts/**/*.ts'],
    rules: {
      eqeqeq: 'error',
      curly: ['error', 'multi-line'],
      'no-warning-comments': ['error', { terms: ['todo', 'fixme', 'xxx', 'hack'], location: 'start' }],
      'no-restricted-syntax': ['error', ...HOUSE_SYNTAX],
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      ...PURE_RULES,
      'no-console': 'error',
      'max-lines': ['error', { max: 500, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
      'max-depth': ['error', 4],
      'max-params': ['error', 5],
      complexity: ['error', 20],
    },
  },
  { files: ['src/cli/**/*.ts'], rules: { 'no-console': 'off' } },
  ...Object.keys(ROOMS).flatMap(roomConfigs),
  ...agentConfigs(),
  {
    files: ['src/model/hash.ts', 'src/model/content.ts'],
    rules: importRule(
      [
        ...roomImports('model'),
        ...forbid(TIME_MODULES, 'use the Clock port'),
        { name: 'node:crypto', allowImportNames: ['createHash', 'Hash'], message: 'the model only hashes' },
      ],
      outOf('model'),
    ),
  },
  {
    files: WIRING,
    rules: {
      'no-restricted-imports': [
        'error',
        {
          paths: [
            ...forbid(BARE_NODE_MODULES, 'write the node: prefix'),
            ...forbid(FILE_LIBRARIES, 'wire it'),
          ],
        },
      ],
    },
  },
  { files: ADAPTERS, rules: IMPURE_RULES },
  {
    files: ['test/**/*.ts', 'scripts/**/*.ts'],
    rules: {
      // tap runs a subtest whether or not its promise is awaited, and fails the parent when it fails.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafePromises: [
            { from: 'package', package: '@tapjs/core', name: 'PromiseWithSubtest' },
          ],
        },
      ],
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    languageOptions: { globals: Object.fromEntries(SCRIPT_GLOBALS.map((name) => [name, 'readonly'])) },
  },
);
