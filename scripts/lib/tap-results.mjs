/**
 * tap-results: read the TAP that test files print, and count the tests in it.
 *
 * A test is a direct child of its file; an assertion outside of any test counts as one.
 */
import { Parser } from 'tap-parser';

const NAME_SEPARATOR = ' > ';

/**
 * @param stream a readable stream of the TAP of one file
 * @returns `{ ok, passed, failed, skipped, failures: [{ name, details }] }` once the stream has ended
 */
export async function readTap(stream) {
  const parser = new Parser();
  const counts = countTests(parser);
  const ok = await readAll(parser, stream);
  return { ok, ...counts };
}

/**
 * @param stream the TAP of several files, each of which is a test of its own name
 * @returns a map from the names of those that ended to what `readTap` says of one, and `timeMs`
 */
export async function readTapOfGroup(stream) {
  const parser = new Parser();
  const results = new Map();
  let counts = none();
  parser.on('child', (child) => (counts = countTests(child)));
  parser.on('assert', ({ name, ok, diag, time }) => {
    // What happened to the file itself, behind the last of its tests.
    const isItself = !ok && counts.failed === 0;
    if (isItself) counts.failures.push({ name: 'the file itself', details: diag });
    results.set(name, { ok, ...counts, failed: counts.failed + (isItself ? 1 : 0), timeMs: time ?? 0 });
    counts = none();
  });
  await readAll(parser, stream);
  return results;
}

function none() {
  return { passed: 0, failed: 0, skipped: 0, failures: [] };
}

function readAll(parser, stream) {
  return new Promise((resolve, reject) => {
    parser.on('complete', ({ ok }) => resolve(ok));
    stream.on('error', reject);
    stream.pipe(parser);
  });
}

/** Counts that grow, and a list that fills, with what the parser reads. */
function countTests(parser) {
  const counts = { ...none(), failures: collectFailures(parser, []) };
  parser.on('assert', (result) => {
    if (result.skip || result.todo) counts.skipped += 1;
    else if (result.ok) counts.passed += 1;
    else counts.failed += 1;
  });
  return counts;
}

/** A list that fills with the failed assertions of a test and its subtests, each with the names of the tests it stands in. */
function collectFailures(parser, path) {
  const failures = [];
  let found = [];
  parser.on('child', (child) => (found = collectFailures(child, [...path, child.name])));
  parser.on('assert', (result) => {
    if (!result.ok && !result.skip && !result.todo) {
      const name = [...path, result.name].join(NAME_SEPARATOR);
      failures.push(...(found.length > 0 ? found : [{ name, details: result.diag }]));
    }
    found = [];
  });
  return failures;
}
