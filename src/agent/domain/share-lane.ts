/**
 * share-lane: a domain's tasks on the share, one at a time, with what each outcome means for attention, log and the pause before the next.
 */
import type { DomainUuid, HostName } from '../../model/identifiers.js';
import type { LifecycleEvent, ShareTask } from '../../model/lifecycle-state.js';
import type { AgentContext } from '../agent-context.js';
import type { AttentionList } from '../attention.js';
import { Backoff } from '../backoff.js';
import { strangerNotice } from '../strangers.js';
import type { DomainTask, TaskOutcome } from './domain-task.js';
import { lostTo } from '../start/refusal.js';
import { runShareTask } from './share-tasks.js';

export class ShareLane {
  readonly #context: AgentContext;
  readonly #uuid: DomainUuid;
  readonly #attention: AttentionList;
  readonly #backoff: Backoff;
  readonly #onPauseOver: () => void;

  /** @param onPauseOver what failed may be tried again */
  constructor(context: AgentContext, uuid: DomainUuid, attention: AttentionList, onPauseOver: () => void) {
    this.#context = context;
    this.#uuid = uuid;
    this.#attention = attention;
    this.#backoff = new Backoff(context);
    this.#onPauseOver = onPauseOver;
  }

  async run(domain: DomainTask, task: ShareTask): Promise<TaskOutcome> {
    const outcome = await runShareTask(this.#context, domain, task);
    const { event, error } = outcome;
    const { log } = this.#context;
    const uuid = this.#uuid;
    if (event.kind === 'share-failed') {
      if (error) this.#attention.raise('share', error);
      const { code, message } = error ?? { code: undefined, message: 'in doubt' };
      log.warn({ uuid, task: task.kind, code }, `${task.kind} failed: ${message}`);
      this.#backoff.schedule(this.#onPauseOver);
      return outcome;
    }
    this.#backoff.reset();
    this.#attention.clear('share');
    if (outcome.strangers) this.#mindStrangers(outcome.strangers);
    if (event.kind === 'fenced') {
      this.#attention.raise('fence', error ?? lostTo(uuid, event.by));
      this.#context.meter?.fenced();
    }
    if (event.kind !== 'tidied' && event.kind !== 'confirmed') log.info({ uuid, ...event }, task.kind);
    this.#tell(event);
    return outcome;
  }

  #mindStrangers([first]: readonly HostName[]): void {
    if (first === undefined) this.#attention.clear('strangers');
    else this.#attention.raise('strangers', strangerNotice(this.#uuid, first));
  }

  #tell(event: LifecycleEvent): void {
    const { feed } = this.#context;
    const uuid = this.#uuid;
    switch (event.kind) {
      case 'published':
        feed?.tell({ kind: event.kind, uuid, generation: event.slot, digest: event.digest });
        break;
      case 'diverged':
        feed?.tell({ kind: event.kind, uuid, digest: event.digest });
        break;
      case 'fenced':
        feed?.tell({ kind: event.kind, uuid, by: event.by });
        break;
      case 'acquired':
      case 'released':
        feed?.tell({ kind: event.kind, uuid });
        break;
      default:
    }
  }

  /** Ends a pause without a try, and begins the next ones short again. */
  reset(): void {
    this.#backoff.reset();
  }
}
