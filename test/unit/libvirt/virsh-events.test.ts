import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { followDomainEvents } from '../../../src/libvirt/virsh-events.js';
import { temporaryDirectory, type TestScope } from '../../fixtures/temporary-directory.js';
import { waitUntil } from '../../fixtures/wait-until.js';

const TIMEOUT_MS = 20_000;

/** A program in place of virsh. @returns its path; it writes its process id beside it first */
async function fakeVirsh(t: TestScope, script: string): Promise<string> {
  const program = join(await temporaryDirectory(t), 'virsh');
  const pid = `echo $$ >'${program}.new' && mv '${program}.new' '${program}.pid'`;
  await writeFile(program, `#!/bin/sh\n${pid}\n${script}\n`, { mode: 0o755 });
  return program;
}

async function processOf(program: string): Promise<number> {
  await waitUntil('virsh to start', TIMEOUT_MS, () => (existsSync(`${program}.pid`) ? true : undefined));
  return Number(await readFile(`${program}.pid`, 'utf8'));
}

async function isGone(pid: number): Promise<true> {
  return await waitUntil('virsh to end', TIMEOUT_MS, () => (existsSync(`/proc/${pid}`) ? undefined : true));
}

t.test('each event is told as it comes, and the end once', async (t) => {
  const program = await fakeVirsh(
    t,
    `echo "event 'lifecycle' for domain 'guest': Defined Added"; echo; echo 'events received: 1'; echo 'error: Disconnected' >&2; exit 1`,
  );
  let events = 0;
  let ends = 0;
  await new Promise<void>((resolve) => {
    const onEvent = (): void => {
      events++;
    };
    followDomainEvents({ uri: 'qemu:///system', program }, onEvent, () => {
      ends++;
      resolve();
    });
  });
  t.strictSame([events, ends], [1, 1]);
  await isGone(await processOf(program));
});

t.test('without a virsh the end is told', async (t) => {
  await new Promise<void>((resolve) => {
    const program = '/none/virsh';
    followDomainEvents({ uri: 'qemu:///system', program }, () => t.fail('no event'), resolve);
  });
});

t.test('a virsh that hangs ends when nobody follows it any more', async (t) => {
  const program = await fakeVirsh(
    t,
    "trap '' TERM HUP INT; while :; do read -r _ </dev/null; sleep 0.1; done",
  );
  const fail = (): void => {
    t.fail('nothing is told');
  };
  const end = followDomainEvents({ uri: 'qemu:///system', program }, fail, fail);
  const pid = await processOf(program);
  end();
  t.ok(await isGone(pid));
});
