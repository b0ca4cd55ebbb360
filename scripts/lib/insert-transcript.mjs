/**
 * insert-transcript: put what a script printed into a document, between its markers.
 *
 *   node scripts/lib/insert-transcript.mjs [--as-is] DOCUMENT NAME TRANSCRIPT
 *
 * The markers are `<!-- NAME -->` and `<!-- /NAME -->`. What is Markdown itself goes in `--as-is`, anything else as it looked on the terminal.
 */
import { readFile, writeFile } from 'node:fs/promises';

const words = process.argv.slice(2);
const isMarkdown = words[0] === '--as-is';
const [documentPath, name, transcriptPath] = isMarkdown ? words.slice(1) : words;
const document = await readFile(documentPath, 'utf8');
const transcript = (await readFile(transcriptPath, 'utf8')).trimEnd();
const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
const from = document.indexOf(begin);
const to = document.indexOf(end);
if (from < 0 || to < from) {
  console.error(`insert-transcript: ${documentPath} has no ${begin} followed by ${end}`);
  process.exit(1);
}
const content = isMarkdown ? transcript : `\`\`\`\n${transcript}\n\`\`\``;
const block = `${begin}\n\n${content}\n\n`;
await writeFile(documentPath, document.slice(0, from) + block + document.slice(to));
