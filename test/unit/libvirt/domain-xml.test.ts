import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { readDomainXml } from '../../../src/libvirt/domain-xml.js';
import { DOMAIN_XML_LENGTH_MAX } from '../../../src/libvirt/hook-operation.js';
import { MirrorError } from '../../../src/model/errors.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d';
const TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";

interface Parts {
  readonly name?: string;
  readonly os?: string;
  readonly devices?: string;
  readonly metadata?: string;
  readonly uuid?: string;
}

function domain({
  name = 'vm',
  os = '<os/>',
  devices = TPM,
  metadata = '',
  uuid = UUID,
}: Parts = {}): string {
  const head = `<name>${name}</name><uuid>${uuid}</uuid><metadata>${metadata}</metadata>`;
  return `<domain type='kvm' id='7'>${head}${os}<devices>${devices}</devices></domain>`;
}

function real(name: string): string {
  return readFileSync(new URL(`../../fixtures/libvirt-xml/${name}`, import.meta.url), 'utf8');
}

/** The message with which the XML is refused; `undefined` when it is accepted. */
function refusal(xml: string): string | undefined {
  try {
    readDomainXml(xml);
    return undefined;
  } catch (error) {
    if (error instanceof MirrorError && error.code === 'XML_INVALID') return error.message;
    throw error;
  }
}

t.test('what libvirt 9.0 gives its hooks is understood: at prepare it names no NVRAM yet', async (t) => {
  const tpm = { version: '2.0', encrypted: false, persistentState: false, source: undefined };
  const known = { uuid: UUID, name: 'vm', tpm, mirrored: true };
  t.strictSame(readDomainXml(real('prepare.xml')), {
    ...known,
    nvram: { kind: 'chosen-at-start', form: { role: 'nvram', format: 'raw', device: false, arch: 'x86_64' } },
  });
  const path = '/var/lib/libvirt/qemu/nvram/vm_VARS.fd';
  const form = {
    role: 'nvram',
    format: 'raw',
    device: false,
    template: '/usr/share/OVMF/OVMF_VARS_4M.ms.fd',
    loader: '/usr/share/OVMF/OVMF_CODE_4M.ms.fd',
    arch: 'x86_64',
  };
  t.strictSame(readDomainXml(real('release.xml')), { ...known, nvram: { kind: 'file', path, form } });
});

t.test('a domain without an emulated TPM is left alone', async (t) => {
  t.equal(readDomainXml(domain({ devices: '' })), undefined);
  const passthrough = "<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>";
  t.equal(readDomainXml(domain({ devices: passthrough })), undefined);
  t.match(
    readDomainXml(domain({ devices: passthrough + TPM })),
    { tpm: { version: '2.0' } },
    'beside one of another kind',
  );
  t.equal(
    readDomainXml(domain({ devices: '', metadata: `<x>${TPM}</x>` })),
    undefined,
    'a TPM elsewhere is none',
  );
});

t.test('the TPM is described', async (t) => {
  const backend = (attributes: string, content = ''): string =>
    domain({ devices: `<tpm><backend type='emulator' ${attributes}>${content}</backend></tpm>` });
  t.match(readDomainXml(backend("version='1.2'")), {
    tpm: { version: '1.2', encrypted: false, persistentState: false },
  });
  t.match(readDomainXml(backend('')), { tpm: { version: undefined } });
  t.match(readDomainXml(backend("persistent_state='yes'")), { tpm: { persistentState: true } });
  t.match(readDomainXml(backend('', `<encryption secret='${UUID}'/>`)), { tpm: { encrypted: true } });
  t.match(readDomainXml(backend('', "<source type='dir' path='/srv/tpm'/>")), {
    tpm: { source: { type: 'dir', path: '/srv/tpm' } },
  });
});

t.test("the domain's own metadata can ask to be left alone", async (t) => {
  const mirrored = (metadata: string): unknown => readDomainXml(domain({ metadata }))?.mirrored;
  t.equal(mirrored("<m:mirror xmlns:m='urn:swtpm-mirror:domain' enabled='no'/>"), false);
  t.equal(mirrored("<mirror xmlns='urn:swtpm-mirror:domain' enabled='yes'/>"), true);
  t.equal(mirrored("<mirror xmlns='urn:another' enabled='no'/>"), true);
  t.match(
    refusal(domain({ metadata: "<mirror xmlns='urn:swtpm-mirror:domain' enabled='nope'/>" })),
    /neither "yes" nor "no"/,
  );
});

t.test("a state in the domain's metadata is found in its one place alone, and taken as it is", async (t) => {
  const state = (text: string): string =>
    `<s:state xmlns:s='urn:swtpm-mirror:1' encoding='e'>${text}</s:state>`;
  const carried = (parts: Parts): unknown => readDomainXml(domain(parts))?.carried;
  t.equal(carried({}), undefined);
  t.strictSame(carried({ metadata: state(' QU\nJD ') }), { encoding: 'e', text: ' QU\nJD ' });
  t.strictSame(carried({ metadata: `${state('first')}${state('second')}` }), {
    encoding: 'e',
    text: 'first',
  });
  t.strictSame(carried({ metadata: "<state xmlns='urn:swtpm-mirror:1'/>" }), { encoding: '', text: '' });
  t.equal(carried({ metadata: "<state xmlns='urn:another'>QUJD</state>" }), undefined);
  t.equal(carried({ metadata: `<other xmlns='urn:another'>${state('QUJD')}</other>` }), undefined);
  t.equal(carried({ devices: `${TPM}${state('QUJD')}` }), undefined);
});

t.test('names are taken as they are', async (t) => {
  t.equal(readDomainXml(domain({ name: '-x <![CDATA[&]]>&#x41;<!-- c -->B' }))?.name, '-x &AB');
  t.equal(readDomainXml(domain({ uuid: UUID.toUpperCase() }))?.uuid, UUID);
});

t.test('the first of several elements counts, and only at its own place', async (t) => {
  const two = domain().replace('<metadata>', '<name>other</name><metadata>');
  t.equal(readDomainXml(two)?.name, 'vm');
  const inner = domain({ metadata: `<uuid>11111111-2222-4333-8444-555555555555</uuid>` });
  t.equal(readDomainXml(inner)?.uuid, UUID);
  t.match(
    refusal(domain().replace('<domain', '<other').replace('/domain>', '/other>')),
    /no valid domain\/uuid/,
  );
  t.match(refusal(domain().replace('<domain', "<domain xmlns='urn:x'")), /no valid domain\/uuid/);
});

t.test('hostile XML is refused with the reason', async (t) => {
  const bomb = `<!DOCTYPE domain [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>${domain({ name: '&b;' })}`;
  const external = `<!DOCTYPE domain [<!ENTITY x SYSTEM "file:///etc/shadow">]>${domain({ name: '&x;' })}`;
  t.match(refusal(bomb), /document type declaration/);
  t.match(refusal(external), /document type declaration/);
  t.match(refusal(domain({ name: '&undefined;' })), /not well-formed at line 1/);
  t.match(refusal(domain({ metadata: '<a>'.repeat(100) })), /more than 64 deep/);
  t.match(refusal(' '.repeat(DOMAIN_XML_LENGTH_MAX + 1)), /longer than/);
  t.match(refusal(domain().slice(0, -3)), /not well-formed/);
  t.match(refusal(''), /not well-formed/);
  t.match(refusal(`${domain()}<domain/>`), /not well-formed/);
  t.match(refusal(domain({ uuid: '../../etc' })), /no valid domain\/uuid/);
  t.match(refusal(domain({ name: '' })), /0 bytes/);
  t.match(refusal(domain({ name: 'n'.repeat(256) })), /256 bytes/);
});

t.test('no part of the XML stands in an error message', async (t) => {
  const secret = 's3cr3t';
  const hostile = [
    `<!DOCTYPE ${secret}>`,
    `<domain><${secret}></domain>`,
    `<domain>&${secret};</domain>`,
    domain({ uuid: secret }),
    domain({ os: `<os><nvram>${secret}</nvram></os>` }),
    domain({ metadata: `<mirror xmlns='urn:swtpm-mirror:domain' enabled='${secret}'/>` }),
  ];
  for (const xml of hostile) t.notMatch(refusal(xml) ?? '', secret);
});

t.test('whatever it is given, it answers or refuses', async (t) => {
  const pieces = fc.constantFrom(
    '<domain>',
    '</domain>',
    '<os',
    ' a="b"',
    '>',
    '/>',
    '<![CDATA[',
    ']]>',
    '&#0;',
    '&lt;',
    '<!--',
    TPM,
    domain(),
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(pieces, fc.string()), { maxLength: 12 }), (parts) => {
      refusal(parts.join(''));
    }),
  );
  t.pass();
});

t.test('the longest XML is read in good time', async (t) => {
  const filler = '<a b="c"/>'.repeat(300_000);
  const startedAt = performance.now();
  t.ok(readDomainXml(domain({ metadata: filler })));
  t.ok(performance.now() - startedAt < 10_000, 'in seconds, on a slow machine');
});

t.test(
  'who is right about a state that was put in place is read from the metadata, and nothing else is',
  (t) => {
    const mirror = (attributes: string): string =>
      domain({ metadata: `<m:mirror xmlns:m='urn:swtpm-mirror:domain' ${attributes}/>` });
    for (const policy of ['refuse', 'share', 'manager'] as const) {
      t.equal(readDomainXml(mirror(`local-state='${policy}'`))?.localState, policy);
      t.match(readDomainXml(mirror(`enabled='yes' local-state='${policy}'`)), {
        mirrored: true,
        localState: policy,
      });
    }
    t.equal(readDomainXml(mirror(''))?.localState, undefined);
    t.equal(readDomainXml(domain())?.localState, undefined);
    const ofAnother = "<x:mirror xmlns:x='urn:of-another' local-state='manager'/>";
    t.equal(
      readDomainXml(domain({ metadata: ofAnother }))?.localState,
      undefined,
      "another program's element",
    );
    for (const odd of ['', 'Manager', 'yes', ' share', 'refuse,share']) {
      t.match(
        refusal(mirror(`local-state='${odd}'`)),
        /"local-state" of .* is none of "refuse", "share", "manager"/,
      );
    }
    t.end();
  },
);
