import t from 'tap';
import type { DomainXml, NvramPlace } from '../../../src/libvirt/domain-xml.js';
import { nvramPathOf } from '../../../src/libvirt/nvram-path.js';
import { UUID } from '../../fakes/host-rig.js';

function domain(nvram: NvramPlace, name = 'vm'): DomainXml {
  const tpm = { version: '2.0', encrypted: false, persistentState: false, source: undefined } as const;
  return { uuid: UUID, name, tpm, nvram, mirrored: true };
}

t.test('a path that the XML names is taken; one that libvirt is going to choose is foretold', async (t) => {
  const chosen = { kind: 'chosen-at-start', format: 'raw' } as const;
  t.equal(nvramPathOf(domain({ kind: 'none' }), '/n'), undefined);
  t.equal(nvramPathOf(domain({ kind: 'file', path: '/x/y.fd' }), '/n'), '/x/y.fd');
  t.equal(nvramPathOf(domain(chosen), '/n'), '/n/vm_VARS.fd');
  t.equal(nvramPathOf(domain({ ...chosen, format: 'qcow2' }), '/n'), '/n/vm_VARS.qcow2');
  t.equal(nvramPathOf(domain(chosen, '../etc/x'), '/n'), undefined, 'a name that is no file name');
});
