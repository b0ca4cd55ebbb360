/**
 * runner: plays scenarios on a cluster, one after the other, each against the product and, where it has a control, against that.
 */
import { Bench } from './bench.js';
import { Cluster } from './machines/cluster.js';
import type { HostEvent } from './machines/host.js';
import { PlainMirror } from './plain-mirror.js';
import { makeShareTemplate, ProductMirror } from './product-mirror.js';
import type { Outcome } from './report.js';
import { mustBeCaught, optionsKey, type Scenario, type Subject } from './scenario.js';
import { Caught } from './verdict.js';

/** How a run is told of while it goes on. */
export interface Voices {
  readonly say: (text: string) => void;
  readonly detail: (line: string) => void;
}

export class Runner {
  /** Files for the guests. */
  readonly #programs: readonly string[];
  readonly #voices: Voices;
  #cluster: Cluster | undefined;
  #bench: Bench | undefined;
  #played = 0;
  /** Of the product's plays with the same options: they have share and services in common, for an agent starts slowly in a guest. */
  readonly #sites = new Map<string, string>();
  /** Whose services may run. */
  #site: string | undefined;

  constructor(programs: readonly string[], voices: Voices) {
    this.#programs = programs;
    this.#voices = voices;
  }

  async play(scenario: Scenario, subject: Subject): Promise<Outcome> {
    const started = performance.now();
    const cluster = await this.cluster();
    const makeMirror = (...args: ConstructorParameters<typeof ProductMirror>) =>
      subject === 'product' ? new ProductMirror(...args) : new PlainMirror(...args);
    this.#played += 1;
    const id = `s${this.#played}`;
    const site = subject === 'product' ? this.#siteOf(scenario, id) : id;
    if (site !== this.#site) await Promise.all(cluster.hosts.map((host) => host.clear()));
    this.#site = site;
    const bench = new Bench({
      cluster,
      id,
      site,
      makeMirror,
      isControl: mustBeCaught(scenario, subject),
      onLine: this.#voices.detail,
      options: scenario.options ?? {},
    });
    this.#bench = bench;
    let broken: string | undefined;
    try {
      await scenario.play(bench);
    } catch (error) {
      if (!(error instanceof Caught)) broken = error instanceof Error ? error.message : String(error);
    }
    const { name, title } = scenario;
    const outcome = {
      scenario: name,
      title,
      subject,
      mustBeCaught: mustBeCaught(scenario, subject),
      checks: bench.verdict.checks,
      facts: bench.verdict.facts,
      broken,
      seconds: (performance.now() - started) / 1000,
      lines: bench.lines,
    };
    await this.#tidy(bench, broken !== undefined);
    return outcome;
  }

  #siteOf(scenario: Scenario, id: string): string {
    const key = optionsKey(scenario);
    const site = this.#sites.get(key) ?? id;
    this.#sites.set(key, site);
    return site;
  }

  /** The running cluster; started when there is none. */
  async cluster(): Promise<Cluster> {
    if (this.#cluster) return this.#cluster;
    const started = performance.now();
    this.#cluster = await Cluster.start(this.#programs, (event: HostEvent) => {
      this.#bench?.take(event);
    });
    await makeShareTemplate(this.#cluster.program);
    this.#voices.say(`three guests are up after ${((performance.now() - started) / 1000).toFixed(0)} s`);
    return this.#cluster;
  }

  async end(): Promise<void> {
    await this.#cluster?.end();
    this.#cluster = undefined;
    this.#sites.clear();
    this.#site = undefined;
  }

  /** Nothing of a scenario lasts into the next one; a cluster that cannot be put right is started anew. */
  async #tidy(bench: Bench, broken: boolean): Promise<void> {
    this.#bench = undefined;
    if (broken) {
      await this.end();
      return;
    }
    try {
      await this.#cluster?.tidy();
    } catch {
      await this.end();
      return;
    }
    if (bench.mirror.name === 'product') await bench.close();
  }
}
