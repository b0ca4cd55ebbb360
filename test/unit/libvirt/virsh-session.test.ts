/**
 * One virsh for many commands: it costs nobody anything when it fails, hangs, dies or is not there.
 */
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { RunMetadata } from '../../../src/libvirt/run-metadata.js';
import { VirshSession } from '../../../src/libvirt/virsh-session.js';
import type { DomainUuid, HostName } from '../../../src/model/identifiers.js';
import { systemClock } from '../../../src/host/node-environment.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d' as DomainUuid;

interface Fake {
  readonly program: string;
  /** A line for each virsh that was started, and for each command. */
  told(): Promise<string[]>;
}

/**
 * A program in place of virsh. @param onCommand a shell's `case` arms by `$line`; `echo` and what is not named succeed
 * @param echoes whether it shows its input, as a virsh with line editing does
 */
async function fakeVirsh(t: TestScope, onCommand: string, echoes = true): Promise<Fake> {
  const directory = await temporaryDirectory(t);
  const program = join(directory, 'virsh');
  const record = join(directory, 'told');
  const script = `#!/bin/sh
echo "start $*" >>'${record}'
printf 'virsh # '
while IFS= read -r line; do
  ${echoes ? `printf '%s\\n' "$line"` : ':'}
  case $line in
    echo\\ *) printf '%s\\n' "\${line#echo }" ;;
    *)
      printf '%s\\n' "$line" >>'${record}'
      case $line in
        ${onCommand}
      esac ;;
  esac
  printf 'virsh # '
done`;
  await writeFile(program, script);
  await chmod(program, 0o755);
  return {
    program,
    told: async () => (await readFile(record, 'utf8')).trimEnd().split('\n'),
  };
}

function session(t: TestScope, { program }: Pick<Fake, 'program'>, deadlineMs = 10_000): VirshSession {
  const made = new VirshSession({ uri: 'qemu:///system', deadlineMs, program }, systemClock);
  t.teardown(() => {
    made.close();
  });
  return made;
}

for (const echoes of [true, false]) {
  t.test(
    `commands share one virsh, in their order (it ${echoes ? 'shows' : 'hides'} its input)`,
    async (t) => {
      const virsh = await fakeVirsh(t, 'bad*) echo "error: no such domain" >&2 ;;', echoes);
      const one = session(t, virsh);
      t.strictSame(await Promise.all([one.run('first'), one.run('bad one'), one.run('third')]), [
        true,
        false,
        true,
      ]);
      t.strictSame(await virsh.told(), [
        'start --connect qemu:///system --quiet',
        'first',
        'bad one',
        'third',
      ]);
    },
  );
}

t.test('one that hangs is killed, and the next command has a new one', async (t) => {
  const virsh = await fakeVirsh(t, 'hang*) exec sleep 60 ;;');
  const one = session(t, virsh, 300);
  t.strictSame(await Promise.all([one.run('hang'), one.run('next')]), [false, true]);
  t.equal((await virsh.told()).filter((line) => line.startsWith('start')).length, 2);
});

t.test('one that dies in the middle fails its command alone', async (t) => {
  const virsh = await fakeVirsh(t, 'die*) exit 1 ;;');
  const one = session(t, virsh);
  t.strictSame(await Promise.all([one.run('die'), one.run('next')]), [false, true]);
});

t.test('where there is none, every command fails', async (t) => {
  const one = session(t, { program: '/no/such/virsh' });
  t.equal(await one.run('first'), false);
  t.equal(await one.run('second'), false);
});

t.test('one that talks without end is given up', async (t) => {
  const virsh = await fakeVirsh(t, 'talk*) yes nonsense | head -c 1000000 ;;');
  const one = session(t, virsh);
  t.equal(await one.run('talk'), false);
  t.equal(await one.run('next'), true);
});

t.test('a command is one line; after the end there are none', async (t) => {
  const virsh = await fakeVirsh(t, '*) ;;');
  const one = session(t, virsh);
  t.equal(await one.run('first\nundefine vm'), false);
  t.equal(await one.run(`long ${'x'.repeat(5000)}`), false);
  t.equal(await one.run('fits'), true);
  one.close();
  t.equal(await one.run('late'), false);
  t.strictSame((await virsh.told()).slice(1), ['fits']);
});

t.test('a claim goes into the live metadata, and nowhere else', async (t) => {
  const virsh = await fakeVirsh(t, '*) ;;');
  const metadata = new RunMetadata(
    { uri: 'qemu:///system', deadlineMs: 10_000, program: virsh.program },
    systemClock,
  );
  const claim = { host: 'kvm-a' as HostName, epoch: 41, token: '5fb1c0d3a2b49e87' };
  t.equal(await metadata.write(UUID, claim), true);
  metadata.close();
  const [, command = ''] = await virsh.told();
  t.match(
    command,
    /^metadata --domain 6b0c2d4e-\S+ --uri urn:swtpm-mirror:run --live --key \S+ --set "<run [^"]*>"$/,
  );
  t.notMatch(command, /--config|--current/);
});
