/**
 * nvram-path: where a domain's firmware variables lie on this host, and what they are.
 *
 * When libvirt chooses the firmware itself, the XML names the file only after the `prepare` hook, so that for a restore the name that libvirt
 * is going to use must be known here: `<nvram_dir>/<NAME>_VARS` and the format's suffix, which for a raw one is its template's where that is `.raw`.
 */
import type { NvramForm } from '../model/nvram.js';
import type { DomainXml } from './domain-xml.js';

const UNFIT_NAME = /[/\0]/;

/** What is told of a domain's firmware variables; `null` for a domain that has none. */
export interface DomainNvram {
  readonly nvramPath: string | null;
  readonly nvram: NvramForm | null;
}

export function nvramOf({ name, nvram }: DomainXml, nvramDirectory: string): DomainNvram {
  switch (nvram.kind) {
    case 'none':
      return { nvramPath: null, nvram: null };
    case 'file':
      return { nvramPath: nvram.path, nvram: nvram.form };
    case 'unsupported':
      return { nvramPath: null, nvram: nvram.form };
    case 'chosen-at-start': {
      const { form } = nvram;
      if (UNFIT_NAME.test(name)) return { nvramPath: null, nvram: null };
      return { nvramPath: `${nvramDirectory}/${name}_VARS.${suffixOf(form)}`, nvram: form };
    }
  }
}

function suffixOf({ format, template = '' }: NvramForm): string {
  if (format === 'qcow2') return 'qcow2';
  return template.endsWith('.raw') ? 'raw' : 'fd';
}

/** @returns `undefined` for a domain without NVRAM that lies in a file */
export function nvramPathOf(domain: DomainXml, nvramDirectory: string): string | undefined {
  return nvramOf(domain, nvramDirectory).nvramPath ?? undefined;
}
