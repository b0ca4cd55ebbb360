/**
 * host-identity: who a host is, and which entries of a log are its own. Pure.
 *
 * A host's identity is an id that it made itself and keeps in its state directory. Its name is a
 * label: a host that is renamed is the same host. Each boot of a host is an *instance* of it, and
 * the state directory remembers them. A copy of that directory on a second machine remembers the
 * instances up to the copy, and none of what the other machine boots later. So an entry with this
 * host's id and an instance that it never was is the work of its double, which is another host.
 *
 * Entries of program 0.1.0 carry the name alone. They are judged by the name that this host had
 * when it got its id: that name's record on the share was then found to be of this machine.
 */
import { sha256 } from './hash.js';
import type { HostName } from './identifiers.js';

declare const brand: unique symbol;

/** 32 hexadecimal digits. */
export type HostId = string & { readonly [brand]: 'HostId' };

/** 16 hexadecimal digits: one boot of one host. */
export type InstanceId = string & { readonly [brand]: 'InstanceId' };

/** Whoever wrote an entry, as far as it says. */
export interface Author {
  readonly host: HostName;
  /** Missing in entries of program 0.1.0. */
  readonly id?: HostId | undefined;
  readonly instance?: InstanceId | undefined;
}

/** What tells one machine from another. */
export interface MachineMarks {
  /** Derived from `/etc/machine-id`. */
  readonly machineId: string;
  /** Derived from what the firmware and the network cards tell; `''` where they tell nothing. */
  readonly hardware: string;
  /** Of the running kernel: no two boots of any machine have the same. */
  readonly bootId: string;
}

export interface HostIdentity extends MachineMarks {
  /** A label, and the host's place on the share. */
  readonly name: HostName;
  readonly id: HostId;
  /** The name that its entries without an id have. */
  readonly nameBeforeId: HostName;
  /** Names that it had before, newest first, without the present one. */
  readonly formerNames: readonly HostName[];
  /** Former names whose place on the share this host still keeps alive, and takes away in the end. */
  readonly leaving: readonly HostName[];
  readonly instance: InstanceId;
  /** Every instance that it was, newest first, the present one among them. */
  readonly instances: readonly InstanceId[];
  /** What it was under identities that it has left to the machine that it is a copy of. */
  readonly separated: readonly FormerIdentity[];
  /** IP addresses, for other hosts' messages. */
  readonly addresses: readonly string[];
}

/** An identity that a copy gave up, and the instance of it that was this machine for certain. */
export interface FormerIdentity {
  readonly id: HostId;
  readonly instance: InstanceId;
}

/** As much of an identity as its entries are recognised by. */
export type Self = Pick<HostIdentity, 'id' | 'nameBeforeId' | 'instances' | 'separated'>;

const HOST_ID = /^[0-9a-f]{32}$/;
const INSTANCE_ID = /^[0-9a-f]{16}$/;
const ID_DIGITS = 32;

export function isHostId(text: string): text is HostId {
  return HOST_ID.test(text);
}

export function isInstanceId(text: string): text is InstanceId {
  return INSTANCE_ID.test(text);
}

/** Whether this host wrote it, under whatever name. */
export function isOwn({ host, id, instance }: Author, self: Self): boolean {
  if (id === undefined) return host === self.nameBeforeId;
  if (id === self.id) return instance === undefined || self.instances.includes(instance);
  return self.separated.some((former) => former.id === id && former.instance === instance);
}

/** Whether an entry stands under the name that this host has now. */
export function bearsName({ host }: Author, { name }: Pick<HostIdentity, 'name'>): boolean {
  return host === name;
}

/** Whether entries count, and are to be made, under a claim of this host: of this boot, and of its present name. */
export function canCommitUnder(claim: Author, self: Pick<HostIdentity, 'name' | 'instance'>): boolean {
  return bearsName(claim, self) && (claim.instance === undefined || claim.instance === self.instance);
}

/** Whether one host wrote both, as far as they say. */
export function isSameHost(one: Author, other: Author): boolean {
  return one.id === undefined || other.id === undefined ? one.host === other.host : one.id === other.id;
}

/**
 * The id that a host begins with. It is made of what tells the machine, so that a host whose state
 * directory was lost is the same host again, and of its name, so that two hosts on one machine, or
 * on copies of one disk image, are two.
 */
export function firstHostId(
  { machineId, hardware }: Pick<MachineMarks, 'machineId' | 'hardware'>,
  name: HostName,
): HostId {
  return sha256(`swtpm-mirror host ${machineId} ${hardware} ${name}`).slice(0, ID_DIGITS) as HostId;
}

/**
 * Whether a state directory is where it was made.
 *
 *   same      this machine, whatever of it was changed: it has not booted since, or has the hardware that it had
 *   moved     its disk in other hardware: a machine that was repaired, or a copy of its image
 *   another   nothing agrees: the directory was copied from another machine
 */
export type MachineRelation = 'same' | 'moved' | 'another';

export function relateMachine(recorded: MachineMarks, found: MachineMarks): MachineRelation {
  if (recorded.bootId === found.bootId) return 'same';
  const isInstallationSame = recorded.machineId === found.machineId;
  if (recorded.hardware === '' || found.hardware === '') {
    return isInstallationSame ? 'same' : 'another';
  }
  if (recorded.hardware === found.hardware) return 'same';
  return isInstallationSame ? 'moved' : 'another';
}

/** What a host keeps of its identity. */
export interface IdentityRecord {
  readonly id: HostId;
  readonly nameBeforeId: HostName;
  /** The present name, then those before it. */
  readonly names: readonly HostName[];
  /** Of the names before, those whose place on the share is still to be taken away. */
  readonly leaving: readonly HostName[];
  readonly instances: readonly InstanceId[];
  /** Newest first. */
  readonly separated: readonly FormerIdentity[];
  readonly machine: MachineMarks;
}

/** What a program finds when it begins. */
export interface HostFinding {
  readonly name: HostName;
  readonly machine: MachineMarks;
  readonly instance: InstanceId;
}

/** What is new about a host since its record was written. */
export type IdentityNews =
  | { readonly kind: 'none' }
  | { readonly kind: 'renamed'; readonly from: HostName }
  /** Its disk is in other hardware. */
  | { readonly kind: 'moved' }
  /** Its state directory is another host's: this one has begun an identity of its own. */
  | { readonly kind: 'copied'; readonly from: HostName };

/** Instances that a record keeps: more than a machine boots in its life. */
const INSTANCES_MAX = 1000;
const NAMES_MAX = 16;

/** @param record `undefined`: this host has none yet, or has none any more */
export function recogniseHost(
  record: IdentityRecord | undefined,
  found: HostFinding,
): { readonly record: IdentityRecord; readonly news: IdentityNews } {
  if (!record) return { record: firstRecord(found), news: { kind: 'none' } };
  const relation = relateMachine(record.machine, found.machine);
  const [former = record.nameBeforeId] = record.names;
  if (relation === 'another') {
    return { record: firstRecord(found), news: { kind: 'copied', from: former } };
  }
  const { name, machine, instance } = found;
  const isRenamed = former !== name;
  const news: IdentityNews = isRenamed
    ? { kind: 'renamed', from: former }
    : { kind: relation === 'moved' ? 'moved' : 'none' };
  const leaving = isRenamed ? [former, ...record.leaving] : record.leaving;
  return {
    news,
    record: {
      ...record,
      names: inFront(record.names, name, NAMES_MAX),
      leaving: [...new Set(leaving)].filter((left) => left !== name),
      instances: inFront(record.instances, instance, INSTANCES_MAX),
      machine,
    },
  };
}

/** `first`, then all others. */
function inFront<Item>(items: readonly Item[], first: Item, max: number): Item[] {
  return [first, ...items.filter((item) => item !== first)].slice(0, max);
}

function firstRecord({ name, machine, instance }: HostFinding): IdentityRecord {
  return {
    id: firstHostId(machine, name),
    nameBeforeId: name,
    names: [name],
    leaving: [],
    instances: [instance],
    separated: [],
    machine,
  };
}

/**
 * A host that is to be another one than whatever its disk was copied from. What it claimed in this
 * boot stays its own, or nobody would ever give that back. Which of the instances before are its own
 * and which the other machine's, nothing proves.
 *
 * @param record the identity that it gives up, if it has any
 */
export function separateRecord(
  record: IdentityRecord | undefined,
  found: HostFinding,
  id: HostId,
): IdentityRecord {
  const former = record ? [{ id: record.id, instance: found.instance }, ...record.separated] : [];
  return { ...firstRecord(found), id, separated: former.slice(0, NAMES_MAX) };
}

export function identityOf(
  { id, nameBeforeId, names, leaving, instances, separated }: IdentityRecord,
  { name, machine, instance }: HostFinding,
  addresses: readonly string[],
): HostIdentity {
  const formerNames = names.filter((former) => former !== name);
  return {
    name,
    id,
    nameBeforeId,
    formerNames,
    leaving,
    instance,
    instances,
    separated,
    addresses,
    ...machine,
  };
}
