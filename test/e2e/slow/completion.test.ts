/**
 * What is made of the same source as `--help`: completion, here in a real bash, and the manual page.
 */
import { readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import t from 'tap';
import { helpOfAll, printedBy, VERSION } from '../../fixtures/command-help.js';
import { Shells } from '../../fixtures/shells.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';

const DOMAINS = [
  { uuid: '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d', name: 'web-1' },
  { uuid: '7d7c9a52-33b0-4f0e-8a6d-5e4c3b2a1908', name: 'a b$(touch owned)`touch owned`' },
  { uuid: '8d7c9a52-33b0-4f0e-8a6d-5e4c3b2a1908', name: '' },
  { uuid: '9d7c9a52-33b0-4f0e-8a6d-5e4c3b2a1908', name: 'two\nlines' },
];
const QUOTED = 'a\\ b\\$\\(touch\\ owned\\)\\`touch\\ owned\\`';

/** What an agent would answer, and what no libvirt would let through. */
async function answering(t: TestScope): Promise<string> {
  const base = await temporaryDirectory(t);
  const server = createServer((_request, response) => response.end(JSON.stringify({ domains: DOMAINS })));
  await new Promise<void>((resolve) => server.listen(join(base, 'control.sock'), resolve));
  t.teardown(() => server.close());
  const config = join(base, 'config.toml');
  await writeFile(config, `run_dir = "${base}"\n`);
  return config;
}

/** Where each form tells of a command, and how it shows an option and a command below. */
interface Form {
  readonly section: (words: readonly string[]) => string;
  readonly option: (name: string) => string;
  readonly command: (name: string) => string;
}

function between(text: string, start: string, end: string | RegExp): string {
  return text.split(start)[1]?.split(end)[0] ?? '';
}

function zshForm(script: string): Form {
  return {
    section: (words) => between(script, `\n${['_swtpm-mirror', ...words].join('-')}() {\n`, '\n}\n'),
    option: (name) => `${name}[`,
    command: (name) => `'${name}:`,
  };
}

function fishForm(script: string): Form {
  return {
    section: (words) =>
      script
        .split('\n')
        .filter((line) => line.includes(`'__swtpm_mirror_at \\'${words.join(' ')}\\'`))
        .join('\n'),
    option: (name) => (name.startsWith('--') ? ` -l ${name.slice(2)} ` : ` -s ${name.slice(1)} `),
    command: (name) => ` -a ${name} `,
  };
}

t.test('every command and option of --help is in each completion', async (t) => {
  const help = await helpOfAll();
  t.ok(help.length > 30, `${String(help.length)} commands`);
  const bash = (await printedBy('completion', 'bash')).split('\n');
  const forms = [
    zshForm(await printedBy('completion', 'zsh')),
    fishForm(await printedBy('completion', 'fish')),
  ];
  for (const { path, commands, options } of help) {
    const words = path.join(' ');
    const line = `'${words}') commands='${commands.join(' ')}' options='${options.join(' ')}' `;
    t.equal(bash.filter((found) => found.trim().startsWith(line)).length, 1, `bash: ${words}`);
    for (const { section, option, command } of forms) {
      const shown = section(path);
      const missing = [...options.map(option), ...commands.map(command)].filter(
        (text) => !shown.includes(text),
      );
      t.strictSame(missing, [], words);
    }
  }
});

t.test('every command and option of --help is in the manual page', async (t) => {
  const page = (await printedBy('manual', '--date', '2026-01-31')).replaceAll('\\-', '-');
  t.ok(page.startsWith(`.TH SWTPM-MIRROR 8 "2026-01-31" "swtpm-mirror ${VERSION}" `));
  const common = between(page, '.SH "OPTIONS OF MOST COMMANDS"\n', '\n.SH ');
  t.same(common.match(/(?<=\\fB)--\w+/g), ['--config', '--json', '--help']);
  for (const { path, commands, options } of await helpOfAll()) {
    if (commands.length > 0) continue;
    const shown = between(page, `\n.SS "${path.join(' ')}"\n`, /\n\.S[SH] /);
    const missing = options.filter(
      (name) => !/^(-h|--help)$/.test(name) && !shown.includes(`\\fB${name}\\fR`),
    );
    t.ok(shown.includes(`\\fBswtpm-mirror ${path.join(' ')}\\fR`), path.join(' '));
    t.strictSame(missing, [], path.join(' '));
  }
});

t.test('bash completes commands, options, values and domains', async (t) => {
  const shells = await Shells.create(t, await answering(t));
  const cases: readonly (readonly [readonly string[], readonly string[]])[] = [
    [['sn'], ['snapshot']],
    [
      ['snapshot', ''],
      ['create', 'list', 'revert', 'delete', 'help'],
    ],
    [
      ['snapshot', 'list', '--'],
      ['--config', '--json', '--help'],
    ],
    [
      ['completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [
      ['resolve', '--keep', ''],
      ['head', 'local', 'diverged'],
    ],
    [['resolve', '--keep', '=', 'l'], ['local']],
    [['export', 'x', '--format', 'o'], ['ovirt']],
    [
      ['import', 'compl'],
      ['completion.bash', 'completion.fish', 'completion.zsh'],
    ],
    [['restore', 'web-1', '--to', ''], ['bin']],
    [['--', 'x', '--'], []],
    [
      ['history', ''],
      ['web-1', QUOTED, DOMAINS[2]?.uuid ?? '', DOMAINS[3]?.uuid ?? ''],
    ],
    [['history', '6b'], [DOMAINS[0]?.uuid ?? '']],
    [['clone', '--json', 'a'], [QUOTED]],
    [['domain', 'started', ''], DOMAINS.map(({ uuid }) => uuid)],
    [['snapshot', 'create', 'web-1', ''], []],
    [['history', '--config', '/none', ''], []],
  ];
  for (const [words, expected] of cases) {
    t.strictSame((await shells.offered('bash', ...words)).sort(), [...expected].sort(), words.join(' '));
  }
  t.notOk((await readdir(shells.directory)).includes('owned'), 'no name of a domain was expanded');
});

t.test('without an agent completion is silent, and quick about it', async (t) => {
  const base = await temporaryDirectory(t);
  const config = join(base, 'config.toml');
  await writeFile(config, `run_dir = "${base}"\n`);
  const shells = await Shells.create(t, config);
  t.strictSame(await shells.offered('bash', 'status', ''), []);
  await writeFile(config, 'mistaken\n');
  t.strictSame(await shells.offered('bash', 'status', ''), []);
});
