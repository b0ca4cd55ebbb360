import t from 'tap';
import { formatMetadataElement, parseMetadataElement } from '../../../src/bundle/metadata-element.js';
import { UUID } from '../../fixtures/tpm-captures.js';

const BUNDLE = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 256));
const ELEMENT = formatMetadataElement(BUNDLE, { uuid: UUID, digest: 'a'.repeat(64) }, 43);

t.test('a bundle comes back from its element, and from a domain that carries it', (t) => {
  t.match(ELEMENT, new RegExp(`^<tpm:state xmlns:tpm="urn:swtpm-mirror:1" uuid="${UUID}" generation="43" `));
  t.strictSame(parseMetadataElement(ELEMENT), BUNDLE);
  const domain = `<domain><name>a</name><metadata><other xmlns="urn:x">b</other>${ELEMENT}</metadata></domain>`;
  t.strictSame(parseMetadataElement(domain), BUNDLE);
  t.end();
});

t.test('anything else is refused without a word of what it holds', (t) => {
  for (const [xml, why] of [
    ['<domain/>', 'no element'],
    [ELEMENT.replace('urn:swtpm-mirror:1', 'urn:other'), 'no element'],
    [ELEMENT.replace('tar.gz+base64', 'rot13'), 'its encoding'],
    [ELEMENT.replace('</tpm:state>', '!</tpm:state>'), 'not base64'],
    [ELEMENT.slice(0, 500), 'not well-formed'],
  ] as const) {
    t.throws(() => parseMetadataElement(xml), { code: 'GENERATION_DAMAGED', message: new RegExp(why) }, why);
  }
  t.end();
});
