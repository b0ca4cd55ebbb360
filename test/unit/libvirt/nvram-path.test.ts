import t from 'tap';
import { readDomainXml } from '../../../src/libvirt/domain-xml.js';
import { nvramOf } from '../../../src/libvirt/nvram-path.js';
import { UUID } from '../../fakes/host-rig.js';

const CODE = "<loader readonly='yes' type='pflash' format='raw'>/usr/share/edk2/ovmf/OVMF_CODE.fd</loader>";
const QCOW2_CODE = "<loader readonly='yes' type='pflash' format='qcow2'>/u/OVMF_CODE.qcow2</loader>";

/** A form of `<os>`, where libvirt keeps its variables, and as what. */
type Form = readonly [name: string, attributes: string, content: string, path: string | null, kind?: string];

/** Every form that libvirt's own tests put out or take in. */
const FORMS: readonly Form[] = [
  ['BIOS', '', '', null],
  ['BIOS that is named', "firmware='bios'", '', null],
  ['a ROM', '', "<loader type='rom'>/u/OVMF.fd</loader>", null],
  ['a ROM that libvirt chooses', "firmware='efi'", "<loader type='rom'/>", null],
  ['stateless', "firmware='efi'", "<loader stateless='yes'/>", null],
  [
    'stateless, chosen',
    "firmware='efi'",
    "<loader readonly='yes' type='pflash' stateless='yes' format='raw'>/u/O.fd</loader>",
    null,
  ],
  [
    'stateless, a stray path',
    '',
    "<loader stateless='yes'>/u/O.fd</loader><nvram>/n/vm_VARS.fd</nvram>",
    null,
  ],
  ['efi, older libvirt', "firmware='efi'", '', '/n/vm_VARS.fd', 'raw'],
  ['efi, secure', "firmware='efi'", "<loader secure='yes'/>", '/n/vm_VARS.fd', 'raw'],
  [
    'efi, features',
    "firmware='efi'",
    "<firmware><feature enabled='yes' name='secure-boot'/></firmware>",
    '/n/vm_VARS.fd',
    'raw',
  ],
  ['efi, qcow2 loader asked for', "firmware='efi'", "<loader format='qcow2'/>", '/n/vm_VARS.qcow2', 'qcow2'],
  ['efi, qcow2 NVRAM asked for', "firmware='efi'", "<nvram format='qcow2'/>", '/n/vm_VARS.qcow2', 'qcow2'],
  ['efi, a template that is .fd', "firmware='efi'", "<nvram template='/t.fd'/>", '/n/vm_VARS.fd', 'raw'],
  ['efi, a template that is .raw', "firmware='efi'", "<nvram template='/t.raw'/>", '/n/vm_VARS.raw', 'raw'],
  [
    'firmware-auto-efi-rw',
    "firmware='efi'",
    "<loader readonly='no' secure='yes' type='pflash' format='raw'>/u/OVMF.combined.fd</loader>",
    null,
  ],
  ['firmware-auto-efi-rw, asked for', "firmware='efi'", "<loader readonly='no'/>", null],
  ['firmware-auto-efi-rw-pflash', "firmware='efi'", "<loader readonly='no' type='pflash'/>", null],
  [
    'firmware-auto-efi-loader-path-nonstandard',
    "firmware='efi'",
    "<loader readonly='yes' type='pflash' format='raw'>/path/to/OVMF_CODE.fd</loader>",
    null,
  ],
  [
    'firmware-auto-efi-nvram-template-nonstandard',
    "firmware='efi'",
    `${CODE}<nvram template='/path/to/OVMF_VARS.fd'/>`,
    null,
  ],
  [
    'firmware-auto-efi',
    "firmware='efi'",
    `${CODE}<nvram template='/u/OVMF_VARS.fd' templateFormat='raw' format='raw'>/var/lib/libvirt/qemu/nvram/guest_VARS.fd</nvram>`,
    '/var/lib/libvirt/qemu/nvram/guest_VARS.fd',
    'raw',
  ],
  [
    'firmware-auto-efi-format-loader-qcow2',
    "firmware='efi'",
    `${QCOW2_CODE}<nvram template='/u/V.qcow2' templateFormat='qcow2' format='qcow2'>/q/guest_VARS.qcow2</nvram>`,
    '/q/guest_VARS.qcow2',
    'qcow2',
  ],
  [
    'qcow2, a name that says raw',
    '',
    "<nvram format='qcow2'>/q/guest_VARS.fd</nvram>",
    '/q/guest_VARS.fd',
    'qcow2',
  ],
  [
    'raw, a name that says qcow2',
    '',
    "<nvram format='raw'>/q/guest_VARS.qcow2</nvram>",
    '/q/guest_VARS.qcow2',
    'raw',
  ],
  ['qcow2 by its name alone', '', '<nvram>/q/guest_VARS.qcow2</nvram>', '/q/guest_VARS.qcow2', 'qcow2'],
  ['qcow2 by its loader', '', `${QCOW2_CODE}<nvram>/q/guest_VARS.x</nvram>`, '/q/guest_VARS.x', 'qcow2'],
  ['firmware-manual-efi', '', `${CODE}<nvram template='/t.fd'>/v/a &amp; b.fd</nvram>`, '/v/a & b.fd', 'raw'],
  [
    'firmware-manual-efi-nvram-file',
    '',
    `${CODE}<nvram type='file' format='raw'>\n <source file='/v/x.fd'/>\n</nvram>`,
    '/v/x.fd',
    'raw',
  ],
  [
    'nvram-file, qcow2',
    '',
    "<nvram type='file' format='qcow2'><source file='/v/x.qcow2'/></nvram>",
    '/v/x.qcow2',
    'qcow2',
  ],
  ['nvram-file without a path', '', "<nvram type='file'/>", null],
  ['slashes that mean nothing', '', '<nvram>//v//x.fd</nvram>', '/v/x.fd', 'raw'],
  [
    'firmware-manual-efi-nvram-block',
    '',
    "<nvram type='block' format='raw'><source dev='/dev/vg/vm'/></nvram>",
    '/dev/vg/vm',
    'device',
  ],
  ['nvram-block without a path', "firmware='efi'", "<nvram type='block'/>", null],
  [
    'firmware-manual-efi-nvram-network-iscsi',
    '',
    "<nvram type='network'><source protocol='iscsi' name='i/0'/></nvram>",
    null,
    'on a network disk',
  ],
  [
    'firmware-manual-efi-nvram-network-nbd, chosen',
    "firmware='efi'",
    "<nvram type='network'><source protocol='nbd'/></nvram>",
    null,
    'on a network disk',
  ],
  [
    'nvram of a pool',
    '',
    "<nvram type='volume'><source pool='p' volume='v'/></nvram>",
    null,
    'on a volume disk',
  ],
  ['a relative path', '', '<nvram>vars.fd</nvram>', null, 'at a path'],
  ['a path that climbs', '', '<nvram>/v/../../etc/shadow</nvram>', null, 'at a path'],
  [
    'firmware-auto-efi-varstore',
    "firmware='efi'",
    "<loader type='rom'>/u/OVMF.qemuvars.fd</loader><varstore template='/u/vars.json' path='/var/lib/libvirt/qemu/varstore/guest.json'/>",
    '/var/lib/libvirt/qemu/varstore/guest.json',
    'json',
  ],
  ['a varstore without a path', "firmware='efi'", "<varstore template='/u/vars.json'/>", null],
];

for (const [name, attributes, content, path, kind] of FORMS) {
  t.test(`libvirt's form of firmware: ${name}`, async (t) => {
    const os = `<os ${attributes}><type arch='x86_64' machine='q35'>hvm</type>${content}</os>`;
    const devices = "<devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices>";
    const xml = `<domain type='kvm'><name>vm</name><uuid>${UUID}</uuid>${os}${devices}</domain>`;
    const domain = readDomainXml(xml);
    if (!domain) throw new Error('it has a TPM');
    const { nvramPath, nvram } = nvramOf(domain, '/n');
    t.equal(nvramPath, path);
    const told = nvram && (nvram.unsupported ?? (nvram.device ? 'device' : nvram.format));
    if (kind === undefined) t.equal(told, null);
    else t.ok(told?.startsWith(kind), `${String(told)} is ${kind}`);
    t.equal(nvram?.role, nvram ? (kind === 'json' ? 'varstore' : 'nvram') : undefined);
  });
}

t.test('a name that is no file name is nobody\u2019s path', async (t) => {
  const form = { role: 'nvram', format: 'raw', device: false } as const;
  const tpm = { version: '2.0', encrypted: false, persistentState: false, source: undefined } as const;
  const nvram = { kind: 'chosen-at-start', form } as const;
  const domain = { uuid: UUID, name: '../etc/x', tpm, nvram, mirrored: true };
  t.strictSame(nvramOf(domain, '/n'), { nvramPath: null, nvram: null });
});
