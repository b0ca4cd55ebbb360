/**
 * strangers: what is said of a host that a volume's log names and the share has no record of.
 */
import type { DomainUuid } from '../model/identifiers.js';
import type { Attention } from './attention.js';

export function strangerText(host: string): string {
  return `its log has entries of host ${host}, which has no record on the share`;
}

export function strangerNotice(uuid: DomainUuid, host: string): Attention {
  return {
    code: 'NEEDS_ATTENTION',
    message: strangerText(host),
    next: `if that host was taken out of service and its record removed, nothing; if nobody knows it, somebody wrote to the share: see \`swtpm-mirror history --all ${uuid}\``,
  };
}
