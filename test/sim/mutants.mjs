/**
 * mutants: deliberate faults. Each one breaks the code where a guarantee rests on it, and the simulator must notice (`npm run sim:mutants`).
 *
 * `find` must occur exactly once in its file, so that a mutant whose place has moved is an error and not a fault that was never made.
 */

/** @type {readonly { name: string, edits: readonly { file: string, find: string, replace: string }[] }[]} */
export const MUTANTS = [
  {
    name: 'an archive is not synced before it is named',
    edits: [
      {
        file: 'model/durable-file.ts',
        find: '    await file.sync(`${operation}:fsync`);\n',
        replace: "    if (operation !== 'publish') await file.sync(`${operation}:fsync`);\n",
      },
    ],
  },
  {
    name: 'a slot is replaced, not created',
    edits: [
      {
        file: 'volume/commit.ts',
        find: '      await context.fs.symlink(`${operation}:symlink`, payload, path);\n',
        replace:
          '      await context.fs.unlink(`${operation}:unlink`, path).catch(() => undefined);\n' +
          '      await context.fs.symlink(`${operation}:symlink`, payload, path);\n',
      },
    ],
  },
  {
    name: 'after an error of the commit the slot is not read',
    edits: [
      {
        file: 'volume/commit.ts',
        find: '      const found = await readAfterError(context, operation, paths, entry.slot, error);\n',
        replace: "      const found: string | undefined = errnoOf(error) === 'EEXIST' ? '' : undefined;\n",
      },
    ],
  },
  {
    name: 'after an error of the commit the next slot is tried',
    edits: [
      {
        file: 'volume/commit.ts',
        find: '  const path = slotPath(paths, entry.slot);',
        replace: '  let path = slotPath(paths, entry.slot);',
      },
      {
        file: 'volume/commit.ts',
        find: '      const found = await readAfterError(context, operation, paths, entry.slot, error);\n',
        replace:
          '      path = slotPath(paths, entry.slot + attempt);\n' +
          '      if (attempt < ATTEMPTS) continue;\n' +
          '      const found = await readAfterError(context, operation, paths, entry.slot, error);\n',
      },
    ],
  },
  {
    name: 'a slot that is taken counts as our own',
    edits: [
      {
        file: 'volume/commit.ts',
        find: '      if (found === payload) break;\n',
        replace: "      if (found !== undefined || errnoOf(error) === 'EEXIST') break;\n",
      },
    ],
  },
  {
    name: 'a publish is acknowledged before its slot is durable',
    edits: [
      {
        file: 'volume/commit.ts',
        find: '    await context.fs.syncDirectory(`${operation}:sync-log`, paths.log);\n',
        replace: '',
      },
    ],
  },
  {
    name: 'holders expire by the wall clock, and their claims are overwritten',
    edits: [
      {
        file: 'volume/claim.ts',
        find: '    if (log.top === 0) await makeVolume(context, call.uuid);\n',
        replace:
          '    if (log.top === 0) await makeVolume(context, call.uuid);\n' +
          '    if (log.holder && context.clock.nowMs() - Date.parse(log.holder.claimedAt) > call.hostExpiryMs) {\n' +
          "      await context.fs.unlink('claim:unlink', `${volumePaths(context, call.uuid).log}/${String(log.holder.epoch).padStart(8, '0')}`);\n" +
          '    }\n',
      },
    ],
  },
  {
    name: 'a fenced host goes on in the next slot',
    edits: [
      {
        file: 'agent/domain/share-tasks.ts',
        find: "  if (outcome.kind !== 'committed') return lostSlot(outcome.by);\n  const at",
        replace:
          "  if (outcome.kind !== 'committed') return await publish(context, { uuid, name, capture, bootId, reason } as DomainTask, " +
          "{ kind: 'publish', epoch, slot: slot + 1, parent, final: false });\n  const at",
      },
    ],
  },
  {
    name: 'a single generation is pruned from the open epoch',
    edits: [
      {
        file: 'model/volume-log.ts',
        find: '  return oldestKept.generation.epoch;\n',
        replace: '  return oldestKept.slot;\n',
      },
    ],
  },
  {
    name: 'what may still be committed is swept',
    edits: [{ file: 'volume/tidy.ts', find: ' || name.slot > log.top', replace: '' }],
  },
  {
    name: 'what a slot names is swept',
    edits: [{ file: 'volume/tidy.ts', find: ' || named.has(file)', replace: '' }],
  },
  {
    name: 'a volume is released before the final publish',
    edits: [
      {
        file: 'model/lifecycle-tasks.ts',
        find: "  if (state.pending) return { kind: 'publish',",
        replace:
          "  if (final && !state.dirty && state.local === 'idle') return { kind: 'release', epoch, slot: next, reason: state.reason };\n" +
          "  if (state.pending) return { kind: 'publish',",
      },
    ],
  },
  {
    name: 'a start that failed is published',
    edits: [
      {
        file: 'model/lifecycle.ts',
        find: '  const capturesOver = handedOver || !ran;\n',
        replace: '  const capturesOver = handedOver;\n  void ran;\n',
      },
    ],
  },
  {
    name: 'a missing directory means that there is nothing to keep',
    edits: [
      {
        file: 'model/lifecycle.ts',
        find: "  const isStored = missing && state.run === 'finishing' && hasOwnState(state);\n",
        replace: "  const isStored = missing && state.run === 'finishing';\n",
      },
    ],
  },
  {
    name: 'captures are not validated',
    edits: [
      {
        file: 'host/state-reader.ts',
        find: '  const { identity, selfValidating } = validateStateFile(role, name, data);\n',
        replace:
          '  const { identity, selfValidating } = { identity: undefined, selfValidating: data === data };\n',
      },
    ],
  },
  {
    name: 'the head is restored without a claim',
    edits: [
      {
        file: 'agent/start/prepare.ts',
        find: '  const claimed = await claimFor(attempt);\n',
        replace:
          "  const { volume } = situation;\n  const claimed = decision.kind === 'restore-head' && volume ? { epoch: volume.log.top, log: volume.log } : await claimFor(attempt);\n",
      },
    ],
  },
  {
    name: 'local state is kept although another host has had the volume',
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: "  const newer = relation === 'newer' && !wasPublished && !isLeftover(local) && !isLost(facts);\n",
        replace: '  const newer = true;\n',
      },
    ],
  },
  {
    name: 'what somebody put in place loses to the head in silence, or becomes it',
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: "  if (origin === 'placed') return true;\n",
        replace: "  if (origin === 'placed') return policy.localState === 'manager';\n",
      },
    ],
  },
  {
    name: 'a domain starts anew when the share is away',
    edits: [
      {
        file: 'agent/start/prepare.ts',
        find: '    const decision = planRestore(situation.facts);\n',
        replace:
          "    const away = situation.facts.share === 'unreachable';\n" +
          "    if (away) return prepared(situation, { kind: 'start-new' }, { kind: 'none' }, undefined);\n" +
          '    const decision = planRestore(situation.facts);\n',
      },
    ],
  },
  {
    name: 'another TPM is taken for another state of the same one',
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: '  return one !== undefined && other !== undefined && one !== other;\n',
        replace: '  return one === null && other === null;\n',
      },
    ],
  },
  {
    name: 'the spool is cleared before the publish is acknowledged',
    edits: [
      {
        file: 'agent/domain/share-tasks.ts',
        find: "  invariant(capture !== undefined, 'a publish carries a capture');\n",
        replace:
          "  invariant(capture !== undefined, 'a publish carries a capture');\n" +
          '  const spooled = (await context.spool.peek(uuid)).newest;\n' +
          '  if (spooled) await context.spool.remove(uuid, spooled.name);\n',
      },
    ],
  },
  {
    name: 'a spooled capture is not synced',
    edits: [
      {
        file: 'model/durable-file.ts',
        find: '    await file.sync(`${operation}:fsync`);\n',
        replace: "    if (operation !== 'spool') await file.sync(`${operation}:fsync`);\n",
      },
    ],
  },
  {
    name: 'a start is answered before the journal is written',
    edits: [
      {
        file: 'agent/domain/beginning.ts',
        find: '    run.begin(prepared);\n    await run.record.saved();\n',
        replace: '    run.begin(prepared);\n',
      },
    ],
  },
  {
    name: 'a stop is answered before its state is safe',
    edits: [
      {
        file: 'agent/domain/ending.ts',
        find: '(state.stopOverdue && isSafe(state)) ||',
        replace: 'state.stopOverdue ||',
      },
    ],
  },
  {
    name: 'a start that was let through as a migration, and is none, runs unclaimed',
    edits: [
      {
        file: 'agent/domain/replicator.ts',
        find: '    if (logTop !== null) await this.#expectClaimed();\n',
        replace: '    if (logTop === -1) await this.#expectClaimed();\n',
      },
    ],
  },
  {
    name: 'a save file whose claim was pruned is restored',
    edits: [
      {
        file: 'model/arrival.ts',
        find: '  return (entries[0]?.slot ?? 0) > epoch;\n',
        replace: '  return false;\n',
      },
    ],
  },
  {
    name: 'the final state of a fenced run that cannot be read is given up',
    edits: [
      {
        file: 'model/lifecycle.ts',
        find: "  if (hold.kind === 'fenced' && state.reading.kind === 'failed' && !state.reading.isMissing) return state;\n",
        replace: '',
      },
    ],
  },
  {
    name: 'a run follows what a copy of its machine stored meanwhile',
    edits: [
      {
        file: 'agent/domain/acquire.ts',
        find: '    if (head && isAhead(head, domain, epoch)) return fencedAllTheSame(domain, head.host);\n',
        replace: '    if (head && epoch < 0) return isAhead(head, domain, epoch) as never;\n',
      },
    ],
  },
  {
    name: 'a claim of an earlier boot is closed as one of this',
    edits: [
      {
        file: 'agent/domain/share-tasks.ts',
        find: 'const canClose = lastClaim !== undefined && canCommitUnder(lastClaim, context.identity);',
        replace: 'const canClose = lastClaim !== undefined;',
      },
    ],
  },
  {
    name: 'what is a generation already stays in the spool',
    edits: [
      {
        file: 'agent/start/held-start.ts',
        find: '    await this.#dropPublished();\n',
        replace: '',
      },
    ],
  },
  {
    name: 'what a former run left is published unjudged when the share does not answer',
    edits: [
      { file: 'agent/domain/left-behind.ts', find: '  if (shareError) throw shareError;\n', replace: '' },
    ],
  },
  {
    name: 'a blank TPM that came up past the hook is published',
    edits: [
      {
        file: 'agent/domain/domain-run.ts',
        find: '    return isOtherTpm(identity, this.#identity);\n',
        replace: '    return isOtherTpm(identity, identity);\n',
      },
    ],
  },
  {
    name: 'what was spooled before a power loss passes for a capture of this boot',
    edits: [
      {
        file: 'agent/domain/pending-capture.ts',
        find: '    this.#bootId = newest.manifest.bootId;\n',
        replace: '',
      },
    ],
  },
  {
    name: 'the source of a migration publishes what it has handed over',
    edits: [
      {
        file: 'model/lifecycle.ts',
        find: '  const capturesOver = handedOver || !ran;\n',
        replace: '  const capturesOver = !ran;\n  void handedOver;\n',
      },
    ],
  },
  {
    name: 'a host whose VM another host has had goes on from the head',
    edits: [
      {
        file: 'agent/domain/acquire.ts',
        find: '  const isLost = !isUnmoved(outcome.log, domain.published) || hasRunElsewhere(outcome.log, identity, epoch);\n',
        replace: '  void hasRunElsewhere;\n  const isLost = !isUnmoved(outcome.log, domain.published);\n',
      },
    ],
  },
  {
    name: 'a claim follows whatever log there is by then',
    edits: [
      {
        file: 'agent/domain/acquire.ts',
        find: "const outcome = await claim(context, domain, how, expired ? 'expired' : 'free', onTopOf);",
        replace:
          "void onTopOf;\n  const outcome = await claim(context, domain, how, expired ? 'expired' : 'free');",
      },
    ],
  },
  {
    name: 'a stop counts as over while its final state is read',
    edits: [
      {
        file: 'agent/domain/domain-run.ts',
        find: " && !dirty && local === 'idle';",
        replace: ' && !dirty;\n    void local;',
      },
    ],
  },
  {
    name: 'a domain starts from its file while the spool may have more',
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: '  return mayBeBehind || STARTS_FROM_THE_HEAD.has(decision.kind);\n',
        replace: '  void mayBeBehind;\n  return STARTS_FROM_THE_HEAD.has(decision.kind);\n',
      },
    ],
  },
  {
    name: 'what the last run left counts as captured under the claim of a start that failed',
    edits: [
      {
        file: 'model/hold.ts',
        find: '  const before = pending ? epochOf(hold) : 0;\n',
        replace: '  const before = 0;\n',
      },
    ],
  },
  {
    name: 'a claim that does not count is kept for ever',
    edits: [
      {
        file: 'model/lifecycle-share.ts',
        find: '      return { ...fine, hold: fenced(state.hold, event) };\n',
        replace: '      return { ...fine, hold: fenced(state.hold, { by: event.by }) };\n',
      },
    ],
  },
  {
    name: 'a claim in doubt counts as settled where the volume looks free',
    edits: [
      {
        file: 'agent/domain/acquire.ts',
        find: "  if (domain.over && (outcome.kind !== 'free' || !claiming)) return { event: { kind: 'released' } };\n",
        replace: "  void claiming;\n  if (domain.over) return { event: { kind: 'released' } };\n",
      },
    ],
  },
  {
    name: "another TPM's state passes for the final one of a domain that never stored any",
    edits: [
      {
        file: 'model/lifecycle.ts',
        find: '  if (foreign && isWithoutOwnState(state)) return',
        replace: '  void isWithoutOwnState;\n  if (process.argv.length === 0) return',
      },
    ],
  },
  {
    name: 'a claim in doubt counts as settled where another host holds the volume',
    edits: [
      {
        file: 'agent/domain/acquire.ts',
        find: "    if (outcome.kind !== 'free') return inDoubt(domain.uuid, outcome.log, logTop);\n",
        replace: "    if (outcome.kind !== 'free') return { event: { kind: 'released' } };\n",
      },
    ],
  },
  {
    name: 'a claim of an adoption is forgotten when its host loses its power',
    edits: [
      {
        file: 'agent/domain/recalled-run.ts',
        find: "    ? { kind: 'wanted', how: 'adopt', inDoubt: true }\n",
        replace: "    ? { kind: 'wanted', how: 'adopt' }\n",
      },
    ],
  },
  {
    name: 'a start that has ended without a word holds its volume',
    edits: [
      {
        file: 'agent/watch/supervisor.ts',
        find: '    await this.#abandoned.look();\n',
        replace: '',
      },
    ],
  },
  {
    name: 'a host that nobody heard of for a while does not look whether its claims stand',
    edits: [
      {
        file: 'agent/watch/supervisor.ts',
        find: '        for (const replicator of this.replicators()) replicator.confirmClaim();\n',
        replace: '',
      },
    ],
  },
  {
    name: 'a look at a claim is content that it stands in the log',
    edits: [
      {
        file: 'agent/share/volume-look.ts',
        find: 'volume?.holder?.self === true && volume.log.epoch === epoch && volume.log.top < next;',
        replace:
          'volume !== undefined && volume.log.entries.some((entry) => entry.slot === epoch) && next > 0;',
      },
    ],
  },
  {
    name: 'an announcement is believed although nobody holds the volume',
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: "      return wasNeverHad(facts, ordinary) ? { kind: 'wait-incoming' } : undefined;\n",
        replace: "      void wasNeverHad;\n      return { kind: 'wait-incoming' };\n",
      },
    ],
  },
  {
    name: 'a source that is silent is believed without the claim of its run',
    edits: [
      {
        file: 'model/arrival.ts',
        find: "  if (standing === 'open') return 'waiting';\n",
        replace: "  if (standing === 'open') return isAlive ? 'waiting' : 'proved';\n",
      },
      {
        file: 'agent/domain/arrived-by-migration.ts',
        find: '!isSilent || arrivedForMs < HAND_OVER_MS',
        replace: '!isSilent || arrivedForMs < HAND_OVER_MS - HAND_OVER_MS',
      },
    ],
  },
  {
    name: 'whatever claim comes with a guest passes for the last one of its host',
    edits: [
      {
        file: 'model/arrival.ts',
        find: "  if (claim.token !== undefined && claim.token !== first.token) return 'lost';\n",
        replace:
          '  if (claim.token !== undefined && claim.slot !== log.epoch) {\n' +
          '    const { lastClaim } = log;\n' +
          "    return lastClaim?.host === host ? standingOf(log, self, lastClaim) : 'lost';\n" +
          '  }\n',
      },
    ],
  },
  {
    name: 'another host may have had a domain between its claim and its arrival',
    edits: [
      {
        file: 'model/arrival.ts',
        find: '      if (!isOwn(entry, self)) return lost;\n',
        replace: '      if (!isOwn(entry, self)) return course;\n',
      },
    ],
  },
  {
    name: 'an ordinary start goes on as one although a guest comes in',
    edits: [
      {
        file: 'agent/domain/replicator.ts',
        find: "    if (run === 'prepared' && takesGuestIn === true) await",
        replace: "    if (run === 'stopped' && takesGuestIn === true) await",
      },
    ],
  },
  {
    name: 'an arrival that nothing proves follows the head',
    edits: [
      {
        file: 'agent/domain/acquire.ts',
        find: "  if (verdict === 'unproved' && !isOfTheHead(situation)) return",
        replace: "  if (verdict === 'unproved' && isOfTheHead(situation)) return",
      },
    ],
  },
  {
    name: 'a reading that failed counts as stored',
    edits: [
      {
        file: 'model/recovery-point.ts',
        find: "  const { reading, passedOver } = state;\n  if (reading.kind === 'failed') return 'unread';\n",
        replace: '  const { reading, passedOver } = state;\n',
      },
    ],
  },
  {
    name: 'status takes what is being read for stored',
    edits: [
      {
        file: 'model/recovery-point.ts',
        find: "(state.dirty || state.local === 'capturing' || state.reading.kind === 'none')",
        replace: "(state.dirty || state.reading.kind === 'none')",
      },
    ],
  },
  {
    name: 'what is noticed after a program stood still is as old as its notice',
    edits: [
      {
        file: 'agent/pulse.ts',
        find: '    return this.#stall() ?? this.#clock.monotonicMs();\n',
        replace: '    return this.#clock.monotonicMs();\n',
      },
    ],
  },
  {
    name: 'a swtpm that died alone ends the run of its VM',
    edits: [
      {
        file: 'agent/watch/sightings.ts',
        find: "    if (fate !== 'ended') {\n",
        replace: "    if (fate === 'unknown') {\n",
      },
    ],
  },
  {
    name: 'what is not understood loses to the head in silence',
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: "  return fault === 'torn' || (fault === 'zeroed' && isFromBeforeBoot === true);\n",
        replace:
          "  return fault === 'torn' || fault === 'not-understood' || (fault === 'zeroed' && isFromBeforeBoot === true);\n",
      },
    ],
  },
  {
    name: 'what cannot be read loses to the head in silence',
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: "  return fault === 'torn' || (fault === 'zeroed' && isFromBeforeBoot === true);\n",
        replace:
          "  return fault === 'torn' || fault === 'unreadable' || (fault === 'zeroed' && isFromBeforeBoot === true);\n",
      },
    ],
  },
  {
    name: 'a final state that could not be stored is passed over when it is gone',
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: '  if (!unstored || isLost(facts)) return false;\n',
        replace: '  if (!unstored || isLost(facts) || kind.length > 0) return false;\n',
      },
    ],
  },
  {
    name: 'a final state that could not be stored is deleted with its directory',
    edits: [
      {
        file: 'agent/domain/domain-run.ts',
        find: '    if (!UNSTORABLE.has(code) || this.place.live !== undefined) return undefined;\n',
        replace: '    if (UNSTORABLE.has(code) || this.place.live !== undefined) return undefined;\n',
      },
    ],
  },
  {
    name: "a state that this host's libtpms cannot read is let through",
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: "  return isTooNew(decision, facts) ? refuse('LIBTPMS_TOO_OLD') : decision;\n",
        replace: '  void isTooNew;\n  return decision;\n',
      },
    ],
  },
  {
    name: 'whether libtpms reads a state is asked of the state that lies here alone',
    edits: [
      {
        file: 'model/restore-plan.ts',
        find: "  return isHead && volume.kind === 'whole' && volume.isTooNew === true;\n",
        replace: "  return isHead && volume.kind === 'empty';\n",
      },
    ],
  },
  {
    name: 'a save file that is older than the head is restored',
    edits: [
      {
        file: 'agent/start/saved-state.ts',
        find: '  if (!log?.head || !isOlderThanHead(log, claim)) return;\n',
        replace: '  if (!log?.head || log.top > 0 || !isOlderThanHead(log, claim)) return;\n',
      },
    ],
  },
  {
    name: "what an operator's choice replaces is kept nowhere",
    edits: [
      {
        file: 'cli/place-content.ts',
        find: '  const kept = before > 0 ? await keepHead(opened, placement, before) : undefined;\n',
        replace: '  void keepHead;\n  const kept = undefined;\n',
      },
    ],
  },
  {
    name: 'an operator chooses the head, and what lay there is gone',
    edits: [
      {
        file: 'cli/resolve.ts',
        find: '  if (loses) await keepDiverged(opened, idle, loses, name);\n',
        replace: '  void keepDiverged;\n  void idle;\n  void name;\n',
      },
      {
        file: 'host/set-aside.ts',
        find: '  if (files.every((file) => isIn(unlessIn, file)) && moved.length === 0) return undefined;\n',
        replace:
          '  if (unlessIn || (files.every((file) => isIn(unlessIn, file)) && moved.length === 0)) return undefined;\n',
      },
    ],
  },
  {
    name: 'a host is known by its name alone, and fences itself when it gets another one',
    edits: [
      {
        file: 'model/host-identity.ts',
        find: '  if (id === undefined) return host === self.nameBeforeId;\n',
        replace: '  if (id !== undefined) return host === (self as unknown as { name: string }).name;\n',
      },
    ],
  },
  {
    name: 'a renamed host is not heard under the name of its claims',
    edits: [
      {
        file: 'volume/hosts.ts',
        find: '    for (const beat of this.#former.values()) await beat.beat();\n',
        replace: '    for (const beat of this.#former.values()) void beat;\n',
      },
    ],
  },
  {
    name: 'a doubled host goes unnoticed',
    edits: [
      {
        file: 'volume/claim.ts',
        find: '    refuseDouble(heartbeat.double(call.hostExpiryMs));\n',
        replace: '    void refuseDouble;\n',
      },
    ],
  },
  {
    name: 'a copy takes the claims of its original for its own',
    edits: [
      {
        file: 'model/host-identity.ts',
        find: '  if (id === self.id) return instance === undefined || self.instances.includes(instance);\n',
        replace: '  if (id === self.id) return true;\n',
      },
      {
        file: 'volume/claim.ts',
        find: '    refuseDouble(heartbeat.double(call.hostExpiryMs));\n',
        replace: '    if (call.reason !== "recover") refuseDouble(heartbeat.double(call.hostExpiryMs));\n',
      },
    ],
  },
  {
    name: 'a program of a copied host forgets what the one before it had found',
    edits: [
      {
        file: 'volume/own-beat.ts',
        find: '    if (this.#other || last?.instance !== this.#context.self.instance || !last.found) return;\n',
        replace: '    if (last !== undefined || !this.#other) return;\n',
      },
    ],
  },
  {
    name: 'what a copy claimed is nobody’s when it gets an identity of its own',
    edits: [
      {
        file: 'model/host-identity.ts',
        find: '  return self.separated.some((former) => former.id === id && former.instance === instance);\n',
        replace: '  return false;\n',
      },
    ],
  },
  {
    name: "a file's time is taken for the server's on every file system",
    edits: [
      {
        file: 'volume/hosts.ts',
        find: ".timeSource === 'server' && !isTimeObserved)",
        replace: ".timeSource !== 'nothing' && !isTimeObserved)",
      },
    ],
  },
  {
    name: 'a beat that lies in the future is one of a host that lives',
    edits: [
      {
        file: 'volume/hosts.ts',
        find: '          silentMs: Math.max(0, ageMs, unchangedMs),\n',
        replace: '          silentMs: ageMs < 0 ? 0 : Math.max(0, ageMs, unchangedMs),\n',
      },
    ],
  },
  {
    name: 'a beat that does not change is one of a host that lives',
    edits: [
      {
        file: 'volume/host-watch.ts',
        find: '    if (seen?.content === content) return Math.max(0, askedMs - seen.sinceMs);\n',
        replace: '    if (seen?.content === content) return Math.max(0, askedMs - nowMs);\n',
      },
    ],
  },
  {
    name: 'what a program put in place for an announced migration is somebody else’s state at the next start',
    edits: [
      {
        file: 'agent/domain/beginning.ts',
        find: "    if (decision !== 'wait-incoming' || prepared.headPlaced) run.record.judged();\n",
        replace: "    if (decision !== 'wait-incoming') run.record.judged();\n",
      },
    ],
  },
  {
    name: 'a start that turns out to take a guest in is not watched for its arrival',
    edits: [
      {
        file: 'agent/watch/supervisor.ts',
        find: "    // A start that takes a guest in is a migration's only from here on.\n    this.#arrivals.watch();\n",
        replace: '',
      },
    ],
  },
  {
    name: 'a stop begins with the readings of the run before it',
    edits: [
      {
        file: 'model/lifecycle.ts',
        find: "      ...ANEW,\n      run: 'finishing',\n",
        replace: "      run: 'finishing',\n",
      },
    ],
  },
  {
    name: 'a prune forgets references',
    edits: [
      {
        file: 'volume/tidy.ts',
        find: '  return partsIn === undefined ? slot : -slot;\n',
        replace: '  return partsIn === undefined ? slot : slot + 0.5;\n',
      },
    ],
  },
  {
    name: 'a reference to another epoch',
    edits: [
      {
        file: 'agent/share/part-references.ts',
        find: '    claim: async (call) => {\n      held.delete(call.uuid);\n',
        replace: '    claim: async (call) => {\n',
      },
      {
        file: 'agent/share/part-references.ts',
        find: '  if (held?.epoch !== call.epoch) return call;\n',
        replace: '  if (!held) return call;\n',
      },
    ],
  },
  {
    name: 'a TPM that was never stored and went on by migration is none to a third host',
    edits: [
      {
        file: 'model/volume-log.ts',
        find: '      if (entry.reason === HANDED_OVER) return true;\n',
        replace: '      void HANDED_OVER;\n',
      },
    ],
  },
  {
    name: 'a copy gives back what its original holds',
    edits: [
      {
        file: 'volume/publish.ts',
        find: '  if (!canCommitUnder(found, context.self)) {\n',
        replace: '  if (!canCommitUnder(found, context.self) && !bearsName(found, context.self)) {\n',
      },
      {
        file: 'agent/domain/share-tasks.ts',
        find: 'const canClose = lastClaim !== undefined && canCommitUnder(lastClaim, context.identity);',
        replace: 'const canClose = lastClaim !== undefined;',
      },
    ],
  },
];
