/**
 * report: what a run of the lab found, for people (Markdown) and for programs (JSON).
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Subject } from './scenario.js';
import type { Check } from './verdict.js';

export interface Outcome {
  readonly scenario: string;
  readonly title: string;
  readonly subject: Subject;
  /** It passes when the lab catches it: a control, or an unsafe set-up. */
  readonly mustBeCaught: boolean;
  readonly checks: readonly Check[];
  readonly facts: Readonly<Record<string, string | number>>;
  /** Why the scenario could not be played to its end. */
  readonly broken: string | undefined;
  readonly seconds: number;
  readonly lines: readonly string[];
}

export function isPassed({ mustBeCaught, checks, broken }: Outcome): boolean {
  const violated = checks.some((check) => !check.held);
  return mustBeCaught ? violated : !violated && broken === undefined;
}

export function headline(outcome: Outcome): string {
  const { scenario, subject, mustBeCaught, checks, broken, seconds } = outcome;
  const word = isPassed(outcome) ? 'ok    ' : 'FAILED';
  const time = `${seconds.toFixed(0)} s`;
  if (!mustBeCaught) return `${word} ${scenario}  (${checks.length} checks, ${time})`;
  const caught = checks.find((check) => !check.held);
  const what = caught ? `caught: ${caught.name}: ${caught.seen}` : `NOT caught${broken ? `: ${broken}` : ''}`;
  const who = subject === 'control' ? ', control: a plain rename publisher' : '';
  return `${word} ${scenario}${who}  (${what}, ${time})`;
}

/** What went wrong, a line each. */
export function details({ checks, broken }: Outcome): string[] {
  const violated = checks.filter((check) => !check.held).map((check) => `${check.name}: ${check.seen}`);
  return broken === undefined ? violated : [...violated, `not played to its end: ${broken}`];
}

export async function writeReport(directory: string, outcomes: readonly Outcome[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'lab.json'), `${JSON.stringify(outcomes, null, 2)}\n`);
  await writeFile(join(directory, 'lab.md'), markdown(outcomes));
}

function markdown(outcomes: readonly Outcome[]): string {
  const passed = outcomes.filter(isPassed).length;
  return [
    '# Fault injection on a real NFS lab\n',
    `${passed} passed, ${outcomes.length - passed} failed. A control, and a set-up that is known to be unsafe, passes when the lab catches it.\n`,
    ...outcomes.map(section),
  ].join('\n');
}

function section(outcome: Outcome): string {
  const { scenario, subject, title, checks, facts, broken, seconds } = outcome;
  const rows = checks.map(
    (check) => `| ${check.held ? 'held' : '**violated**'} | ${cell(check.name)} | ${cell(check.seen)} |`,
  );
  const measured = Object.entries(facts).map(([name, value]) => `- ${name}: ${value}`);
  return [
    `## ${scenario}${subject === 'control' ? ', control' : ''}: ${isPassed(outcome) ? 'passed' : 'FAILED'}\n`,
    `${title}. ${seconds.toFixed(0)} s.\n`,
    ...(rows.length > 0 ? ['| | check | seen |', '| --- | --- | --- |', ...rows, ''] : []),
    ...(measured.length > 0 ? [...measured, ''] : []),
    ...(broken === undefined ? [] : [`Not played to its end: ${broken}\n`]),
  ].join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ');
}
