import t from 'tap';
import { readSealedHeader } from '../../../src/bundle/age-header.js';
import { parseMetadataElement } from '../../../src/bundle/metadata-element.js';

function within(ms: number, work: () => unknown): unknown {
  const startedMs = performance.now();
  let outcome: unknown;
  try {
    outcome = work();
  } catch (error) {
    outcome = error;
  }
  const tookMs = performance.now() - startedMs;
  if (tookMs > ms) throw new Error(`it took ${tookMs.toFixed(0)} ms`);
  return outcome;
}

t.test('XML of any depth is refused at once', (t) => {
  for (const depth of [65, 1_000, 40_000, 200_000]) {
    for (const tag of ['a', 'tpm:a', 'a xmlns="urn:x"', 'a xmlns:b="urn:y"']) {
      const xml = `<d xmlns:tpm="urn:swtpm-mirror:1">${`<${tag}>`.repeat(depth)}`;
      t.match(
        within(2_000, () => parseMetadataElement(xml)),
        { code: 'GENERATION_DAMAGED' },
        `${tag} × ${depth}`,
      );
    }
  }
  t.end();
});

t.test('an age header of thousands of stanzas is refused before any key is tried', (t) => {
  const header = (stanzas: number): Buffer =>
    Buffer.concat([
      Buffer.from(
        `age-encryption.org/v1\n${`-> X25519 ${'A'.repeat(43)}\n${'A'.repeat(43)}\n`.repeat(stanzas)}--- ${'A'.repeat(43)}\n`,
      ),
      Buffer.alloc(16 + 17),
    ]);
  t.match(readSealedHeader(header(1)), { note: undefined });
  t.match(readSealedHeader(header(200)), { note: undefined });
  for (const stanzas of [257, 1_000, 2_500]) {
    t.match(
      within(500, () => readSealedHeader(header(stanzas))),
      { code: 'GENERATION_DAMAGED', message: /stanzas/ },
      `${stanzas}`,
    );
  }
  t.end();
});
