/**
 * host-names: a host that is called otherwise than before, or whose state directory came from
 * another one: told once, and its former names taken away when nothing is held under them.
 */
import { asMirrorError, MirrorError } from '../../model/errors.js';
import type { IdentityNews } from '../../model/host-identity.js';
import type { HostName } from '../../model/identifiers.js';
import type { AgentContext } from '../agent-context.js';

type NamesContext = Pick<AgentContext, 'identity' | 'names' | 'share' | 'log'>;

export class HostNames {
  readonly #context: NamesContext;
  #left = false;

  constructor(context: NamesContext) {
    this.#context = context;
    this.#left = context.identity.leaving.length === 0;
  }

  /** What is new about who this host is, for its status; `undefined` for nothing. */
  news(): MirrorError | undefined {
    const { names, identity, log } = this.#context;
    const news = names && newsOf(names.news, identity.name);
    if (news) log.warn({ code: news.code, id: identity.id }, news.message);
    else if (names?.news.kind === 'moved') {
      log.warn({ id: identity.id }, 'the disk of this host is in other hardware than before');
    }
    return news;
  }

  /** Nothing is held under a former name any more: every claim of this host has been made anew. */
  async leave(): Promise<void> {
    if (this.#left) return;
    this.#left = true;
    const { share, names, log } = this.#context;
    try {
      const left = await share.leaveFormerNames({});
      await names?.left(left);
      log.info({ names: left }, 'nothing is held under former names of this host any more');
    } catch (error) {
      const { code, message } = asMirrorError(error);
      log.info({ code }, `cannot take former names away: ${message}`);
      this.#left = false;
    }
  }
}

function newsOf(news: IdentityNews, name: HostName): MirrorError | undefined {
  switch (news.kind) {
    case 'none':
    case 'moved':
      return undefined;
    case 'renamed':
      return new MirrorError(
        'HOST_RENAMED',
        `this host was ${news.from} and is ${name} now: it is the same host, and holds what it held`,
        {
          next: `nothing, if that is meant; otherwise set \`host = "${news.from}"\` in the configuration and restart the agent`,
        },
      );
    case 'copied':
      return new MirrorError(
        'HOST_COPIED',
        `the state directory was copied from ${news.from}, another machine: this host has an identity of its own from now on`,
        {
          next: `nothing, if this is a copy; what the journal and the spool have of the other host's domains is judged as another host's. If it is ${news.from} with other hardware and a new system, take its volumes over with \`swtpm-mirror take-over\``,
        },
      );
  }
}
