/**
 * The element that carries a run's claim.
 */
import fc from 'fast-check';
import t from 'tap';
import { isDomainUuid, type DomainUuid } from '../../../src/model/identifiers.js';
import { formatRunClaim, readRunClaim, type RunClaim } from '../../../src/model/run-claim.js';
import { readDomainXml } from '../../../src/libvirt/domain-xml.js';
import { anyHex, anyHostName } from '../../fixtures/log-arbitraries.js';

const UUID = '6b0c2d4e-7a1f-4c3b-9d55-0e8f1a2b3c4d' as DomainUuid;
const OTHER = '0d9f3a51-22c4-4e6b-8a77-5c1e2f3a4b5c';
const CLAIM = { host: 'kvm-a', epoch: 41, token: '5fb1c0d3a2b49e87' } as RunClaim;

const anyClaim: fc.Arbitrary<RunClaim> = fc.record(
  { host: anyHostName, epoch: fc.integer({ min: 1, max: 99_999_999 }), token: anyHex(8, 64) },
  { noNullPrototype: true },
);

function xml(metadata: string, elsewhere = ''): string {
  return `<domain type='kvm'><name>vm</name><uuid>${UUID}</uuid><metadata>${metadata}</metadata>${elsewhere}<devices><tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices></domain>`;
}

/** As libvirt writes what it was given. */
function asLibvirtHasIt(element: string): string {
  return element
    .replace('<run ', '<mirror-run:run xmlns:mirror-run="urn:swtpm-mirror:run" ')
    .replaceAll("'", '"');
}

t.test('what a source writes is what a destination reads', (t) => {
  fc.assert(
    fc.property(anyClaim, (claim) => {
      const element = formatRunClaim(UUID, claim);
      t.notMatch(element, /["\n\\]/, 'nothing in it ends the quotes that virsh is given');
      const read = readDomainXml(xml(asLibvirtHasIt(element)))?.runClaim;
      return JSON.stringify(read) === JSON.stringify(claim);
    }),
    { numRuns: 200 },
  );
  t.end();
});

const FITS = { uuid: UUID, host: 'kvm-a', epoch: '41', token: '5fb1c0d3a2b49e87' };
const UNFIT: [string, Record<string, string | undefined>][] = [
  ['of another domain, as in a clone of its definition', { uuid: OTHER }],
  ['without a domain', { uuid: undefined }],
  ['without a host', { host: undefined }],
  ['of a host that no host can be called', { host: '../kvm' }],
  ['of no slot', { epoch: '0' }],
  ['of a slot in another notation', { epoch: '4e1' }],
  ['of more slots than there are', { epoch: '123456789' }],
  ['with a token of other characters', { token: 'not-hexadecimal!' }],
  ['with a token that is too short', { token: 'abc' }],
];

for (const [name, changed] of UNFIT) {
  t.test(`an element ${name} is none`, (t) => {
    t.ok(isDomainUuid(OTHER));
    t.strictSame(readRunClaim(UUID, FITS), CLAIM);
    t.equal(readRunClaim(UUID, { ...FITS, ...changed }), undefined);
    t.end();
  });
}

t.test('only in its own place and namespace', (t) => {
  const element = formatRunClaim(UUID, CLAIM);
  const named = asLibvirtHasIt(element);
  t.strictSame(readDomainXml(xml(named))?.runClaim, CLAIM);
  t.strictSame(readDomainXml(xml(`<a:x xmlns:a="urn:a"/>${named}`))?.runClaim, CLAIM, 'beside others');
  t.equal(readDomainXml(xml(element))?.runClaim, undefined, 'without a namespace');
  t.equal(readDomainXml(xml(named.replace('swtpm-mirror:run', 'other:run')))?.runClaim, undefined);
  t.equal(
    readDomainXml(xml(`<a:x xmlns:a="urn:a">${named}</a:x>`))?.runClaim,
    undefined,
    'in another element',
  );
  t.equal(readDomainXml(xml('', named))?.runClaim, undefined, 'outside of the metadata');
  t.equal(readDomainXml(xml(`<!-- ${element} -->`))?.runClaim, undefined, 'in a comment');
  t.end();
});
