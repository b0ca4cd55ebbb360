/**
 * tap-results: follow a stream of TAP as tap writes it (one subtest per test file) and count the tests in it.
 *
 * A test is a direct child of a file. A file that fails without a failed test of its own (it crashed, or ran out of time)
 * counts as one failed test, so that nothing fails unseen.
 */
import { Parser } from 'tap-parser';

const NAME_SEPARATOR = ' > ';

/**
 * @param stream a readable stream of TAP
 * @param onFile called as each file ends, with `{ name, passed, failed, skipped, timeMs, failures: [{ name, details }] }`
 * @returns `{ passed, failed, skipped }` once the stream has ended
 */
export async function followTap(stream, onFile) {
  const totals = { passed: 0, failed: 0, skipped: 0 };
  const parser = new Parser();
  followSubtests(parser, followFile, (result, file = emptyFile()) => {
    if (!result.ok && file.failed === 0) {
      file.failed = 1;
      file.failures.push({ name: 'the file itself', details: result.diag });
    }
    for (const key of Object.keys(totals)) totals[key] += file[key];
    onFile({ name: result.name, timeMs: result.time ?? 0, ...file });
  });
  await new Promise((resolve, reject) => {
    parser.on('complete', resolve);
    stream.on('error', reject);
    stream.pipe(parser);
  });
  return totals;
}

/** Calls `onResult` with each result of a parser, and with what `followChild` made of the subtest that it sums up, if any. */
function followSubtests(parser, followChild, onResult) {
  let followed;
  parser.on('child', (child) => (followed = followChild(child)));
  parser.on('assert', (result) => {
    onResult(result, followed);
    followed = undefined;
  });
}

function emptyFile() {
  return { passed: 0, failed: 0, skipped: 0, failures: [] };
}

function followFile(parser) {
  const file = emptyFile();
  parser.on('assert', (result) => {
    if (result.skip || result.todo) file.skipped += 1;
    else if (result.ok) file.passed += 1;
    else file.failed += 1;
  });
  file.failures = collectFailures(parser, []);
  return file;
}

/** A list that fills with the failed assertions of a test and its subtests, each with the names of the tests it stands in. */
function collectFailures(parser, path) {
  const failures = [];
  const followChild = (child) => collectFailures(child, [...path, child.name]);
  followSubtests(parser, followChild, (result, found = []) => {
    if (result.ok || result.skip || result.todo) return;
    if (found.length > 0) failures.push(...found);
    else failures.push({ name: [...path, result.name].join(NAME_SEPARATOR), details: result.diag });
  });
  return failures;
}
