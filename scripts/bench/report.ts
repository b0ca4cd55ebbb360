/**
 * report: the results as Markdown, for the terminal and RESULTS.md.
 */
import { machineText, type Machine } from './machine.js';
import type { Goal, Outcome, Table } from './measurement.js';

export interface Measured {
  readonly name: string;
  readonly title: string;
  readonly tookS: number;
  readonly outcome: Outcome;
}

export interface Report {
  readonly command: string;
  readonly machine: Machine;
  readonly measured: readonly Measured[];
}

/** @param chart path of the picture, relative to where the text will stand */
export function markdown({ command, machine, measured }: Report, chart?: string): string {
  const goals = measured.flatMap(({ outcome }) => outcome.goals);
  const parts = [
    `\`${command}\` on ${machineText(machine)}.`,
    'Medians, with the quartiles in brackets. What is compared ran in turn, in one run.',
    ...(goals.length > 0 ? [tableText(goalTable(goals))] : []),
    ...(chart === undefined ? [] : [`![From a change to the share](${chart})`]),
    ...measured.flatMap(section),
  ];
  return `${parts.join('\n\n')}\n`;
}

function section({ title, outcome: { table, notes } }: Measured): string[] {
  return [`### ${title}`, tableText(table), ...(notes.length > 0 ? [notes.join(' ')] : [])];
}

function goalTable(goals: readonly Goal[]): Table {
  return {
    head: ['goal', 'met', 'measured'],
    rows: goals.map(({ text, met, found }) => [text, met ? 'yes' : '**no**', found]),
  };
}

function tableText({ head, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
