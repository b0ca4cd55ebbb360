/**
 * Completion in a real zsh and a real fish, with a real agent's domains; and the manual page as the programs that show it judge it.
 */
import t from 'tap';
import { printedBy } from '../../fixtures/command-help.js';
import { DOMAIN, Guest, mustRun } from '../../fixtures/guest.js';
import { runCommand } from '../../fixtures/process.js';
import { Shells, type Shell } from '../../fixtures/shells.js';
import { Site } from '../../fixtures/site.js';

const CASES: readonly (readonly [readonly string[], readonly string[]])[] = [
  [['sn'], ['snapshot']],
  [
    ['snapshot', ''],
    ['create', 'delete', 'help', 'list', 'revert'],
  ],
  [
    ['snapshot', 'list', '--'],
    ['--config', '--help', '--json'],
  ],
  [
    ['completion', ''],
    ['bash', 'fish', 'zsh'],
  ],
  [
    ['resolve', '--keep', ''],
    ['diverged', 'head', 'local'],
  ],
  [['import', 'completion.b'], ['completion.bash']],
  [['history', ''], ['web-1']],
  [['domain', 'started', ''], [DOMAIN]],
  [['snapshot', 'create', 'web-1', ''], []],
  [['history', '--config', '/none', ''], []],
];

t.test('zsh, fish and bash complete commands, options, values and the domains of the agent', async (t) => {
  const site = await Site.create(t);
  const host = await site.host('kvm-a');
  await host.startAgent(t);
  await mustRun(host, ['domain', 'prepare', DOMAIN, '--name', 'web-1']);
  const guest = await Guest.startUnannounced(t, host);
  const shells = await Shells.create(t, host.config);
  for (const shell of ['bash', 'fish', 'zsh'] satisfies Shell[]) {
    for (const [words, expected] of CASES) {
      const offered = await shells.offered(shell, ...words);
      t.strictSame([...new Set(offered)].sort(), expected, `${shell}: ${words.join(' ')}`);
    }
  }
  await guest.stop();
});

t.test('mandoc and groff find nothing to complain of in the manual page', async (t) => {
  const page = await printedBy('manual', '--date', '2026-01-31');
  const linted = await runCommand('mandoc', ['-T', 'lint', '-W', 'warning'], { input: page });
  t.match({ ...linted, stdout: linted.stdout.toString() }, { status: 0, stdout: '', stderr: '' });
  const formatted = await runCommand('groff', ['-man', '-ww', '-Tascii', '-P-cbou'], { input: page });
  t.match(formatted, { status: 0, stderr: '' });
  t.match(formatted.stdout.toString(), /^ +restore$/m);
});
