/**
 * nvram-path: the path of a domain's NVRAM file on this host.
 *
 * When libvirt chooses the firmware itself, the XML names the file only after the `prepare` hook, so that for a restore the name that libvirt
 * is going to use must be known here: `<nvram_dir>/<NAME>_VARS.fd`.
 */
import type { DomainXml } from './domain-xml.js';

const UNFIT_NAME = /[/\0]/;

/** @returns `undefined` for a domain without NVRAM */
export function nvramPathOf({ name, nvram }: DomainXml, nvramDirectory: string): string | undefined {
  switch (nvram.kind) {
    case 'none':
      return undefined;
    case 'file':
      return nvram.path;
    case 'chosen-at-start': {
      const suffix = nvram.format === 'qcow2' ? 'qcow2' : 'fd';
      return UNFIT_NAME.test(name) ? undefined : `${nvramDirectory}/${name}_VARS.${suffix}`;
    }
  }
}
