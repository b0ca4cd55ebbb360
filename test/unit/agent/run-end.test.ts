import t from 'tap';
import type { AgentContext } from '../../../src/agent/agent-context.js';
import { fateOf, type Fate } from '../../../src/agent/watch/run-end.js';
import { OTHER_UUID, UUID } from '../../fixtures/tpm-captures.js';

type Qemu = 'runs' | 'gone' | 'unknown';
/** What libvirt says: nothing, shut off, active, or that it knows no such domain. */
type Libvirt = 'silent' | 'off' | 'active' | 'no-such';

function asked(qemu: Qemu, libvirt: Libvirt, byHook: boolean): Promise<Fate> {
  const inactive = libvirt === 'off' ? [UUID] : [OTHER_UUID];
  const known = libvirt === 'no-such' ? [OTHER_UUID] : [UUID, OTHER_UUID];
  const isSilent = libvirt === 'silent';
  const context = {
    running: { guest: async () => qemu },
    guests: {
      inactive: async () => (isSilent ? undefined : new Set(inactive)),
      known: async () => (isSilent ? undefined : new Set(known)),
    },
  } as unknown as AgentContext;
  return fateOf(context, UUID, byHook);
}

const TABLE: readonly (readonly [Qemu, Libvirt, boolean, Fate])[] = [
  ['runs', 'silent', true, 'runs'],
  ['runs', 'off', true, 'runs'],
  ['runs', 'no-such', true, 'runs'],
  ['runs', 'active', false, 'runs'],
  ['gone', 'silent', true, 'ended'],
  ['gone', 'silent', false, 'ended'],
  ['gone', 'off', true, 'ended'],
  ['gone', 'active', true, 'runs'],
  ['gone', 'no-such', true, 'ended'],
  ['gone', 'no-such', false, 'ended'],
  ['unknown', 'silent', true, 'unknown'],
  ['unknown', 'silent', false, 'unknown'],
  ['unknown', 'off', false, 'ended'],
  ['unknown', 'active', true, 'runs'],
  ['unknown', 'no-such', true, 'ended'],
  ['unknown', 'no-such', false, 'unknown'],
];

t.test('G3: a run ends by libvirt’s word or with its QEMU, and never with its swtpm alone', async (t) => {
  for (const [qemu, libvirt, byHook, fate] of TABLE) {
    const name = `QEMU ${qemu}, libvirt ${libvirt}, ${byHook ? 'prepared by its hook' : 'started by somebody'}`;
    t.equal(await asked(qemu, libvirt, byHook), fate, name);
  }
});
