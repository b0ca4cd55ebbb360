/**
 * tap-results: read the TAP that one test file prints, and count the tests in it.
 *
 * A test is a direct child of the file; an assertion outside of any test counts as one.
 */
import { Parser } from 'tap-parser';

const NAME_SEPARATOR = ' > ';

/**
 * @param stream a readable stream of TAP
 * @returns `{ ok, passed, failed, skipped, failures: [{ name, details }] }` once the stream has ended
 */
export async function readTap(stream) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const parser = new Parser();
  parser.on('assert', (result) => {
    if (result.skip || result.todo) counts.skipped += 1;
    else if (result.ok) counts.passed += 1;
    else counts.failed += 1;
  });
  const failures = collectFailures(parser, []);
  const { ok } = await new Promise((resolve, reject) => {
    parser.on('complete', resolve);
    stream.on('error', reject);
    stream.pipe(parser);
  });
  return { ok, ...counts, failures };
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
