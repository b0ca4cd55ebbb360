import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { listRunningGuests, mustVirsh, takesOption, type Virsh } from '../../../src/libvirt/virsh-adapter.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';

/** A virsh that runs this script. */
async function fakeVirsh(t: TestScope, script: string, deadlineMs = 10_000): Promise<Virsh> {
  const program = join(await temporaryDirectory(t), 'virsh');
  await writeFile(program, `#!/bin/sh\n${script}\n`);
  await chmod(program, 0o755);
  return { uri: 'qemu:///system', deadlineMs, program };
}

t.test('the running guests are listed', async (t) => {
  const virsh = await fakeVirsh(t, `echo "$*" >&2; echo ${UUID}; echo; echo nonsense`);
  t.strictSame(await listRunningGuests(virsh), new Set([UUID]));
});

t.test('nobody can tell where virsh is missing, fails, or hangs', async (t) => {
  t.equal(
    await listRunningGuests({ uri: 'qemu:///system', deadlineMs: 1000, program: '/no/such/virsh' }),
    undefined,
  );
  t.equal(await listRunningGuests(await fakeVirsh(t, 'echo "error: no connection" >&2; exit 1')), undefined);
  t.equal(await listRunningGuests(await fakeVirsh(t, 'exec sleep 60', 200)), undefined);
});

t.test("a failure tells virsh's own words in one line", async (t) => {
  const virsh = await fakeVirsh(t, 'printf "error: first\\nerror: second\\n" >&2; exit 1');
  await t.rejects(mustVirsh(virsh, ['undefine', 'vm']), {
    code: 'LIBVIRT_FAILED',
    message: 'virsh undefine vm: first; error: second',
  });
  await t.rejects(mustVirsh(await fakeVirsh(t, 'exec sleep 60', 200), ['list']), {
    message: /no answer within 200 ms/,
  });
});

t.test('options are looked up in the help of this version', async (t) => {
  const virsh = await fakeVirsh(t, 'echo "undefine <domain> [--nvram] [--keep-tpm]"');
  t.equal(await takesOption(virsh, 'undefine', '--nvram'), true);
  t.equal(await takesOption(virsh, 'undefine', '--tpm'), false);
});
