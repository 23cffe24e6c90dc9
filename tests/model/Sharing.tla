------------------------------ MODULE Sharing ------------------------------
\* How processes share the record of one account in a store with a lease: src/session/flight.rs on src/store/leased.
\*
\* Each action above the line "The environment" is a step of the code, which has the comment "model: NAME" there. Every
\* process is modelled as if it were on a machine of its own: it may lose the store alone, and its clocks are its own.
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
    Procs,    \* the processes
    Dues,     \* how often the current tokens come to their end
    Faults,   \* how many faults happen at most, of all kinds together
    Kinds,    \* the kinds of faults
    Replicas, \* a write counts once the replica has it (replicas=1)
    Broken    \* the step that is wrong, to check that an invariant fails then; "": none

VARIABLES
    srv,      \* the server of the store: the record, the lease, and who knows the newest fence
    rep,      \* the replica that may take over, and that may be behind
    st,       \* the processes
    late,     \* for each process: a write that it has given up, and that may still arrive
    cut,      \* the processes that cannot reach the store
    limited,  \* the service answers 429
    minted,   \* how many pairs the service has given; a pair is its number
    good,     \* the pairs whose refresh token the service accepts
    live,     \* the access tokens of the pairs before this one have ended
    dues, faults, \* how often the tokens may still end, and how many faults may still happen
    left,     \* history: the refresh tokens of which a byte has left
    twice,    \* history: one of them was presented again
    credit,   \* history: the number of reasons for a call, less the number of calls
    probes,   \* history: the calls answered with 429 in this pause
    defied,   \* history: a process that knows of the 429 has made a call
    reverted  \* history: a failover has lost an intent

service == <<limited, minted, good, live, dues>>
history == <<left, twice, credit, probes, defied, reverted>>
vars == <<srv, rep, st, late, cut, service, faults, history>>

Nobody == "nobody"
Dead == "dead" \* a session that has ended

NoRecord == [gen |-> 0, pair |-> 0, rt |-> "none", wait |-> FALSE]
NoWrite == [rec |-> NoRecord, frees |-> FALSE, owner |-> Nobody]
NewProcess == [
    at |-> "idle",       \* the next step
    mem |-> 0,           \* the pair that callers get; 0: none
    private |-> FALSE,   \* that pair is not in the store
    known |-> 0,         \* the newest generation that it has seen in the store
    obstacle |-> FALSE,  \* it knows that the service has asked for a pause
    asleep |-> FALSE,    \* it is stopped
    stale |-> FALSE,     \* it sees that the last renewal of its lease is too long ago
    held |-> FALSE,      \* it believes that the lease is its own
    view |-> NoRecord,   \* the record as it was read or written last
    hand |-> 0,          \* a pair that is not committed
    offered |-> 0,       \* the first generation under which this pair, or the private one, may have been written
    presented |-> FALSE, \* this flight has presented a refresh token
    failed |-> FALSE,    \* this flight has returned to the lock after a failure of the store
    alone |-> FALSE]     \* this flight goes on without the store

Init ==
    /\ srv = [rec |-> NoRecord, lock |-> Nobody,
              cur |-> [p \in Procs |-> FALSE], late |-> [p \in Procs |-> FALSE]]
    /\ rep = [srv |-> srv, same |-> TRUE]
    /\ st = [p \in Procs |-> NewProcess]
    /\ late = [p \in Procs |-> NoWrite]
    /\ cut = {} /\ limited = FALSE /\ minted = 0 /\ good = {} /\ live = 1
    /\ dues = Dues /\ faults = Faults
    /\ left = {} /\ twice = FALSE /\ credit = 1 /\ probes = 0 /\ defied = FALSE /\ reverted = FALSE

------------------------------------------------------------------------------
\* The store. A fence is never given twice, so it matters only whether somebody knows the newest one: srv.cur[p] says that
\* the process p does, and srv.late[p] that its write under way does.

Usable(pair) == pair >= live /\ pair # 0
Only(p) == [q \in Procs |-> q = p]
Max(a, b) == IF a > b THEN a ELSE b

HasReplica == "failover" \in Kinds
\* Each change of the fence by p makes the replica older, unless the change waits for it.
Replicated(p) ==
    rep' = IF ~HasReplica THEN rep
           ELSE IF Replicas THEN [srv |-> srv', same |-> TRUE]
           ELSE [srv |-> [rep.srv EXCEPT !.cur[p] = FALSE], same |-> FALSE]
Unreplicated(p) ==
    rep' = IF ~HasReplica THEN rep ELSE [srv |-> [rep.srv EXCEPT !.cur[p] = FALSE], same |-> FALSE]
\* p has read the newest fence.
Seen(p) ==
    rep' = IF ~HasReplica THEN rep ELSE [rep EXCEPT !.srv.cur[p] = rep.same]

Is(p, step) == st[p].at = step /\ ~st[p].asleep
Reaches(p) == p \notin cut
Free(p) == srv.lock \in {Nobody, p}
\* The script `write`, with the record and whether it frees the lease.
CanWrite(p) == Reaches(p) /\ srv.cur[p]
Written(p, rec, frees) ==
    [srv EXCEPT !.rec = rec, !.cur = Only(p), !.late = [q \in Procs |-> FALSE],
                !.lock = IF ~frees THEN p ELSE IF srv.lock = p THEN Nobody ELSE srv.lock]
\* The script `renew`.
CanRenew(p) == Reaches(p) /\ (srv.lock = p \/ (srv.lock = Nobody /\ srv.cur[p]))

NeedsToken(p) == ~Usable(st[p].mem) /\ ~st[p].obstacle
Offers(p) == st[p].at = "idle" /\ st[p].private /\ Usable(st[p].mem)
AtLock(p) ==
    /\ ~st[p].asleep
    /\ st[p].at \in {"lock", "relock"} \/ (st[p].at = "idle" /\ (NeedsToken(p) \/ Offers(p)))

------------------------------------------------------------------------------
\* What a process writes and remembers

IsNewer(view, step) == Usable(view.pair) /\ view.gen > step.known
\* Without a look at the record, as the mutation has it: the record is what the process remembers.
Remembered(p) ==
    [gen |-> st[p].known, pair |-> st[p].mem, rt |-> IF st[p].mem = 0 THEN "none" ELSE "good", wait |-> FALSE]

Claimed(p) == [st[p].view EXCEPT !.rt = "claimed"]
Unclaimed(p) == [st[p].view EXCEPT !.rt = "good"]

\* A call to the service leaves.
Calls(p) == credit' = credit - 1 /\ defied' = (defied \/ st[p].obstacle)

Idle(p) == [NewProcess EXCEPT !.mem = st[p].mem, !.private = st[p].private,
                              !.known = st[p].known, !.obstacle = st[p].obstacle, !.offered = st[p].offered]

NextGeneration(p) == Max(st[p].known, st[p].view.gen) + 1
FirstOffer(p) == IF st[p].offered # 0 THEN st[p].offered ELSE NextGeneration(p)
\* Once a write of the pair may have arrived, another process may have taken its refresh token from the record.
MayBeTaken(p) ==
    LET view == st[p].view
    IN /\ st[p].offered # 0 /\ view.gen >= st[p].offered /\ ~(view.pair = st[p].hand /\ view.rt = "good")
       /\ Broken # "offered twice"
Pair(p) == [gen |-> NextGeneration(p), pair |-> st[p].hand, rt |-> IF MayBeTaken(p) THEN "none" ELSE "good",
            wait |-> FALSE]

------------------------------------------------------------------------------
\* The steps of a flight

\* A process whose token is as old as the record, or that finds an unfinished intent or an obstacle, continues so:
Decide(view, step) ==
    LET isOld == view.gen < step.known
        waits == view.wait /\ ~isOld /\ step.hand = 0 /\ Broken # "no obstacle"
    IN [step EXCEPT
        !.known = Max(@, view.gen), !.view = view, !.obstacle = @ \/ waits,
        !.at = IF step.hand # 0 THEN "commit"
               ELSE IF waits THEN "release"
               ELSE IF step.presented \/ view.rt # "good" \/ isOld THEN "issue"
               ELSE IF Broken \in {"no intent", "late intent"} THEN "armed"
               ELSE "intend"]

\* A newer pair of another process.
Adopt(view, step) ==
    [step EXCEPT !.at = IF step.held THEN "release" ELSE "idle", !.mem = view.pair, !.private = FALSE,
                 !.known = view.gen, !.view = NoRecord, !.hand = 0, !.offered = 0, !.obstacle = FALSE,
                 !.stale = FALSE, !.presented = FALSE, !.failed = FALSE, !.alone = FALSE]

\* What follows from the record.
Read(view, step) == IF IsNewer(view, step) THEN Adopt(view, step) ELSE Decide(view, step)

Acquire(p) ==
    /\ AtLock(p) /\ Reaches(p) /\ Free(p)
    /\ srv' = [srv EXCEPT !.lock = p, !.cur = Only(p), !.late = [q \in Procs |-> FALSE]]
    /\ Replicated(p)
    /\ LET view == IF Broken = "no re-read" THEN Remembered(p) ELSE srv.rec
           step == [st[p] EXCEPT !.held = TRUE, !.hand = IF Offers(p) THEN st[p].mem ELSE @]
       IN st' = [st EXCEPT ![p] = Read(view, step)]
    /\ UNCHANGED <<late, cut, service, faults, history>>

\* The lease is not needed: another process has committed a newer pair.
Moved(p) ==
    /\ AtLock(p) /\ Reaches(p) /\ ~Free(p)
    /\ srv.rec.gen > st[p].known /\ (Usable(srv.rec.pair) \/ st[p].at = "relock")
    /\ srv' = [srv EXCEPT !.cur[p] = FALSE]
    /\ rep' = IF HasReplica THEN [rep EXCEPT !.srv.cur[p] = FALSE] ELSE rep
    /\ st' = [st EXCEPT ![p] = Read(srv.rec, [st[p] EXCEPT !.held = FALSE])]
    /\ UNCHANGED <<late, cut, service, faults, history>>

WriteIntent(p) ==
    /\ Is(p, "intend")
    /\ IF CanWrite(p)
       THEN /\ srv' = Written(p, Claimed(p), FALSE)
            /\ Replicated(p)
            /\ st' = [st EXCEPT ![p].at = IF Broken = "late intent" THEN "posted" ELSE "check",
                                ![p].view = Claimed(p), ![p].stale = FALSE]
       ELSE /\ st' = [st EXCEPT ![p].at = "failed", ![p].held = @ /\ ~Reaches(p)]
            /\ UNCHANGED <<srv, rep>>
    /\ UNCHANGED <<late, cut, service, faults, history>>

\* A refresh token is presented only under a lease that was renewed a moment ago. Otherwise the intent is taken back.
CheckLease(p) ==
    /\ Is(p, "check")
    /\ IF ~st[p].stale
       THEN st' = [st EXCEPT ![p].at = "armed"] /\ UNCHANGED srv
       ELSE IF CanRenew(p)
       THEN st' = [st EXCEPT ![p].at = "armed", ![p].stale = FALSE] /\ srv' = [srv EXCEPT !.lock = p]
       ELSE st' = [st EXCEPT ![p].at = "undo"] /\ UNCHANGED srv
    /\ UNCHANGED <<rep, late, cut, service, faults, history>>

\* After a write of the intent whose answer is lost, the record is read again, and then the intent is taken back.
ReadForUndo(p) ==
    /\ Is(p, "unsure")
    /\ IF Reaches(p)
       THEN /\ srv' = [srv EXCEPT !.cur[p] = TRUE]
            /\ Seen(p)
            /\ st' = [st EXCEPT ![p].held = srv.lock = p, ![p].at = IF srv.lock = p THEN "undo" ELSE "failed"]
       ELSE st' = [st EXCEPT ![p].at = "failed"] /\ UNCHANGED <<srv, rep>>
    /\ UNCHANGED <<late, cut, service, faults, history>>

Undo(p) ==
    /\ Is(p, "undo")
    /\ st' = [st EXCEPT ![p].at = "failed", ![p].held = @ /\ (Reaches(p) => srv.cur[p])]
    /\ IF CanWrite(p)
       THEN srv' = Written(p, Unclaimed(p), FALSE) /\ Replicated(p)
       ELSE UNCHANGED <<srv, rep>>
    /\ UNCHANGED <<late, cut, service, faults, history>>

Post(p) ==
    /\ Is(p, "armed")
    /\ LET token == st[p].view.pair
       IN twice' = (twice \/ token \in left) /\ left' = left \union {token}
    /\ Calls(p)
    /\ st' = [st EXCEPT ![p].at = IF Broken = "late intent" THEN "intend" ELSE "posted"]
    /\ UNCHANGED <<srv, rep, late, cut, service, faults, probes, reverted>>

\* The answer to a Refresh: 429, a pair, or a refusal. After a refusal the service ends the whole token family.
Answer(p) ==
    /\ Is(p, "posted")
    /\ LET token == st[p].view.pair
       IN IF limited
          THEN /\ left' = left \ {token} /\ probes' = probes + 1 /\ credit' = credit + 1
               /\ st' = [st EXCEPT ![p].at = "put back", ![p].obstacle = TRUE]
               /\ UNCHANGED <<minted, good>>
          ELSE IF token \in good
          THEN /\ minted' = minted + 1 /\ good' = (good \ {token}) \union {minted + 1}
               /\ st' = [st EXCEPT ![p].at = "commit", ![p].hand = minted + 1]
               /\ UNCHANGED <<left, probes, credit>>
          ELSE /\ good' = {} /\ credit' = credit + 1
               /\ st' = [st EXCEPT ![p].at = "reload", ![p].presented = TRUE]
               /\ UNCHANGED <<minted, left, probes>>
    /\ UNCHANGED <<srv, rep, late, cut, limited, live, dues, faults, twice, defied, reverted>>

PutBack(p) ==
    /\ Is(p, "put back")
    /\ IF CanWrite(p) /\ st[p].held
       THEN /\ srv' = Written(p, Unclaimed(p), FALSE)
            /\ Replicated(p)
            /\ st' = [st EXCEPT ![p].at = "back off", ![p].view = Unclaimed(p)]
       ELSE /\ st' = [st EXCEPT ![p].at = IF Broken = "no pause" THEN "failed" ELSE "back off",
                                ![p].held = @ /\ ~Reaches(p), ![p].presented = TRUE]
            /\ UNCHANGED <<srv, rep>>
    /\ UNCHANGED <<late, cut, service, faults, history>>

\* The obstacle is written, so that the others obey it too. If this fails, they meet it themselves.
BackOff(p) ==
    /\ Is(p, "back off")
    /\ st' = [st EXCEPT ![p].at = "release"]
    /\ IF st[p].held /\ Reaches(p) /\ (IF st[p].presented THEN srv.lock = p ELSE srv.cur[p])
       THEN \* If it is not known whether the token was put back, the record is read again.
            LET record == IF st[p].presented THEN srv.rec ELSE st[p].view
            IN srv' = Written(p, [record EXCEPT !.wait = TRUE], FALSE) /\ Replicated(p)
       ELSE UNCHANGED <<srv, rep>>
    /\ UNCHANGED <<late, cut, service, faults, history>>

\* After a refusal or a lost answer.
Reload(p) ==
    /\ Is(p, "reload")
    /\ IF Reaches(p)
       THEN /\ srv' = [srv EXCEPT !.cur[p] = TRUE]
            /\ Seen(p)
            /\ st' = [st EXCEPT ![p] = IF srv.lock = p THEN Read(srv.rec, st[p])
                                       ELSE [st[p] EXCEPT !.at = "relock", !.held = FALSE]]
       ELSE st' = [st EXCEPT ![p].at = "failed"] /\ UNCHANGED <<srv, rep>>
    /\ UNCHANGED <<late, cut, service, faults, history>>

Issue(p) ==
    /\ Is(p, "issue")
    /\ IF st[p].held /\ st[p].stale /\ Reaches(p) /\ ~CanRenew(p)
       THEN st' = [st EXCEPT ![p].at = "failed"] /\ UNCHANGED <<srv, credit, defied>>
       ELSE /\ Calls(p)
            /\ srv' = IF st[p].held /\ st[p].stale /\ Reaches(p) THEN [srv EXCEPT !.lock = p] ELSE srv
            /\ st' = [st EXCEPT ![p].at = "issuing", ![p].stale = FALSE]
    /\ UNCHANGED <<rep, late, cut, service, faults, left, twice, probes, reverted>>

\* The store has failed: once more from the lock, or a private pair for callers who have nothing.
StoreFails(p) ==
    /\ \/ Is(p, "failed")
       \/ AtLock(p) /\ ~Reaches(p) /\ ~Offers(p) /\ st[p].hand = 0
    /\ \/ /\ st[p].at = "failed" /\ ~st[p].failed
          /\ st' = [st EXCEPT ![p].at = "lock", ![p].failed = TRUE]
       \/ st' = [st EXCEPT ![p].at = IF NeedsToken(p) THEN "private" ELSE "release", ![p].alone = TRUE]
    /\ UNCHANGED <<srv, rep, late, cut, service, faults, history>>

IssuePrivately(p) ==
    /\ Is(p, "private")
    /\ Calls(p)
    /\ st' = [st EXCEPT ![p].at = "issuing"]
    /\ UNCHANGED <<srv, rep, late, cut, service, faults, left, twice, probes, reverted>>

AnswerIssue(p) ==
    /\ Is(p, "issuing")
    /\ IF limited
       THEN /\ probes' = probes + 1 /\ credit' = credit + 1
            /\ st' = [st EXCEPT ![p].at = "back off", ![p].obstacle = TRUE]
            /\ UNCHANGED <<minted, good>>
       ELSE /\ minted' = minted + 1 /\ good' = good \union {minted + 1}
            /\ st' = [st EXCEPT ![p].at = IF st[p].alone THEN "keep" ELSE "commit", ![p].hand = minted + 1]
            /\ UNCHANGED <<probes, credit>>
    /\ UNCHANGED <<srv, rep, late, cut, limited, live, dues, faults, left, twice, defied, reverted>>

\* Callers get a pair once it is committed. The commit has freed the lease.
Publish(p) == [NewProcess EXCEPT !.mem = st[p].hand, !.known = NextGeneration(p)]

Commit(p) ==
    /\ Is(p, "commit")
    /\ IF st[p].held /\ Reaches(p) /\ (srv.cur[p] \/ Broken = "no compare-and-set")
       THEN /\ srv' = Written(p, Pair(p), TRUE)
            /\ Replicated(p)
            /\ st' = [st EXCEPT ![p] = Publish(p)]
       ELSE /\ st' = [st EXCEPT ![p].at = "uncommitted", ![p].held = @ /\ ~Reaches(p), ![p].offered = FirstOffer(p)]
            /\ UNCHANGED <<srv, rep>>
    /\ UNCHANGED <<late, cut, service, faults, history>>

\* The pair is offered again under a new lease, unless another process has committed one meanwhile.
OfferAgain(p) ==
    /\ Is(p, "uncommitted")
    /\ st' = [st EXCEPT ![p].at = "lock"]
    /\ UNCHANGED <<srv, rep, late, cut, service, faults, history>>

KeepPrivate(p) ==
    /\ st[p].at \in {"uncommitted", "keep"} \/ (st[p].at = "lock" /\ st[p].hand # 0)
    /\ ~st[p].asleep
    /\ st' = [st EXCEPT ![p].at = "release", ![p].mem = st[p].hand, ![p].private = TRUE, ![p].hand = 0]
    /\ UNCHANGED <<srv, rep, late, cut, service, faults, history>>

Release(p) ==
    /\ Is(p, "release")
    /\ srv' = IF st[p].held /\ Reaches(p) /\ srv.lock = p THEN [srv EXCEPT !.lock = Nobody] ELSE srv
    /\ st' = [st EXCEPT ![p] = Idle(p)]
    /\ UNCHANGED <<rep, late, cut, service, faults, history>>

\* In the background, during a call.
Renew(p) ==
    /\ st[p].at \in {"posted", "issuing", "uncommitted"} /\ ~st[p].asleep
    /\ st[p].held /\ CanRenew(p) /\ (srv.lock # p \/ st[p].stale)
    /\ srv' = [srv EXCEPT !.lock = p]
    /\ st' = [st EXCEPT ![p].stale = FALSE]
    /\ UNCHANGED <<rep, late, cut, service, faults, history>>

\* A process that may not call the service reads the store.
Look(p) ==
    /\ Is(p, "idle") /\ st[p].obstacle /\ Reaches(p) /\ IsNewer(srv.rec, st[p])
    /\ st' = [st EXCEPT ![p] = Adopt(srv.rec, st[p])]
    /\ UNCHANGED <<srv, rep, late, cut, service, faults, history>>

------------------------------------------------------------------------------
\* The environment: what happens by itself, and what is well again after a fault

Step(p) ==
    \/ Acquire(p) \/ Moved(p) \/ WriteIntent(p) \/ CheckLease(p) \/ ReadForUndo(p) \/ Undo(p)
    \/ Post(p) \/ Answer(p) \/ PutBack(p) \/ BackOff(p) \/ Reload(p) \/ Issue(p) \/ StoreFails(p) \/ IssuePrivately(p)
    \/ AnswerIssue(p) \/ Commit(p) \/ OfferAgain(p) \/ KeepPrivate(p) \/ Release(p) \/ Renew(p) \/ Look(p)

\* Time passes until the access tokens need a successor.
TokensEnd ==
    /\ dues > 0 /\ minted >= live
    /\ dues' = dues - 1 /\ live' = minted + 1 /\ credit' = credit + 1 + Cardinality(cut)
    /\ UNCHANGED <<srv, rep, st, late, cut, limited, minted, good, faults, left, twice, probes, defied, reverted>>

\* A lease ends only if its holder has died, is stopped, or cannot renew it.
LeaseEnds ==
    /\ srv.lock # Nobody /\ Broken # "endless lease"
    /\ srv.lock \in Procs => st[srv.lock].asleep \/ ~st[srv.lock].held \/ ~Reaches(srv.lock)
    /\ srv' = [srv EXCEPT !.lock = Nobody]
    /\ UNCHANGED <<rep, st, late, cut, service, faults, history>>

\* The process sees the time that has passed, or not: a virtual machine that was stopped.
Wake(p) ==
    /\ st[p].asleep
    /\ \E seen \in {TRUE, FALSE}: /\ seen => st[p].at \in {"check", "issue"}
                              /\ st' = [st EXCEPT ![p].asleep = FALSE, ![p].stale = seen]
    /\ UNCHANGED <<srv, rep, late, cut, service, faults, history>>

Reconnect ==
    /\ cut # {} /\ cut' = {}
    /\ UNCHANGED <<srv, rep, st, late, service, faults, history>>

PauseEnds ==
    /\ limited \/ srv.rec.wait \/ \E p \in Procs: st[p].obstacle
    /\ limited' = FALSE /\ probes' = 0
    /\ srv' = [srv EXCEPT !.rec.wait = FALSE]
    /\ rep' = [rep EXCEPT !.srv.rec.wait = FALSE]
    /\ st' = [p \in Procs |-> [st[p] EXCEPT !.obstacle = FALSE, !.view.wait = FALSE]]
    /\ late' = [p \in Procs |-> [late[p] EXCEPT !.rec.wait = FALSE]]
    /\ UNCHANGED <<cut, minted, good, live, dues, faults, left, twice, credit, defied, reverted>>

\* A write that its sender has given up arrives.
LateWrite(p) ==
    /\ late[p].owner # Nobody
    /\ late' = [late EXCEPT ![p] = NoWrite]
    /\ IF srv.late[p]
       THEN /\ srv' = [srv EXCEPT !.rec = late[p].rec, !.cur = [q \in Procs |-> FALSE], !.late[p] = FALSE,
                                  !.lock = IF ~late[p].frees THEN late[p].owner
                                           ELSE IF srv.lock = late[p].owner THEN Nobody ELSE srv.lock]
            /\ rep' = IF HasReplica THEN [rep EXCEPT !.same = FALSE] ELSE rep
       ELSE UNCHANGED <<srv, rep>>
    /\ UNCHANGED <<st, cut, service, faults, history>>

Replicate ==
    /\ HasReplica /\ ~Replicas /\ rep # [srv |-> srv, same |-> TRUE]
    /\ rep' = [srv |-> srv, same |-> TRUE]
    /\ UNCHANGED <<srv, st, late, cut, service, faults, history>>

Recovery == TokensEnd \/ LeaseEnds \/ Reconnect \/ PauseEnds \/ (\E p \in Procs: Wake(p) \/ LateWrite(p)) \/ Replicate

------------------------------------------------------------------------------
\* The faults, each with the number of calls that it may cost

Fault(kind, calls) == kind \in Kinds /\ faults > 0 /\ faults' = faults - 1 /\ credit' = credit + calls

Crash(p) ==
    /\ Fault("crash", 1) /\ st[p] # NewProcess
    /\ st' = [st EXCEPT ![p] = NewProcess]
    /\ srv' = [srv EXCEPT !.lock = IF @ = p THEN Dead ELSE @, !.cur[p] = FALSE]
    /\ rep' = [rep EXCEPT !.srv.lock = IF @ = p THEN Dead ELSE @, !.srv.cur[p] = FALSE]
    /\ late' = [late EXCEPT ![p].owner = IF @ = p THEN Dead ELSE @]
    /\ UNCHANGED <<cut, service, left, twice, probes, defied, reverted>>

Sleep(p) ==
    /\ Fault("sleep", 1) /\ st[p].at # "idle" /\ ~st[p].asleep
    /\ st' = [st EXCEPT ![p].asleep = TRUE]
    /\ UNCHANGED <<srv, rep, late, cut, service, left, twice, probes, defied, reverted>>

\* The request or its answer is lost: the service has used the refresh token, or not.
LoseAnswer(p) ==
    /\ Fault("lost answer", 1) /\ Is(p, "posted")
    /\ good' \in {good, good \ {st[p].view.pair}}
    /\ st' = [st EXCEPT ![p].at = "reload", ![p].presented = TRUE]
    /\ UNCHANGED <<srv, rep, late, cut, limited, minted, live, dues, left, twice, probes, defied, reverted>>

LoseIssue(p) ==
    /\ Fault("lost answer", 1) /\ Is(p, "issuing")
    /\ st' = [st EXCEPT ![p].at = IF st[p].alone THEN "private" ELSE "issue"]
    /\ UNCHANGED <<srv, rep, late, cut, service, left, twice, probes, defied, reverted>>

\* The network delivers a Refresh twice: the service sees a token for the second time and ends the family.
DoubleRequest(p) ==
    /\ Fault("doubled request", 0) /\ Is(p, "posted") /\ ~limited /\ st[p].view.pair \in good
    /\ minted' = minted + 1 /\ good' = {}
    /\ st' = [st EXCEPT ![p].at = "commit", ![p].hand = minted + 1]
    /\ UNCHANGED <<srv, rep, late, cut, limited, live, dues, left, twice, probes, defied, reverted>>

\* The write of p whose answer is lost or late now, and the step that follows.
Writes(p) ==
    CASE Is(p, "intend") -> [some |-> TRUE, rec |-> Claimed(p), frees |-> FALSE, next |-> "unsure"]
      [] Is(p, "commit") /\ st[p].held -> [some |-> TRUE, rec |-> Pair(p), frees |-> TRUE, next |-> "uncommitted"]
      [] Is(p, "put back") /\ st[p].held -> [some |-> TRUE, rec |-> Unclaimed(p), frees |-> FALSE,
                                                      next |-> IF Broken = "no pause" THEN "failed" ELSE "back off"]
      [] OTHER -> [some |-> FALSE, rec |-> NoRecord, frees |-> FALSE, next |-> "idle"]

\* The store has performed a write, and its answer is lost.
LoseWriteAnswer(p) ==
    LET write == Writes(p)
    IN /\ write.some /\ CanWrite(p) /\ Fault("lost write answer", 1)
       /\ srv' = [Written(p, write.rec, write.frees) EXCEPT !.cur[p] = FALSE]
       /\ Unreplicated(p)
       /\ st' = [st EXCEPT ![p].at = write.next, ![p].presented = @ \/ st[p].at = "put back",
                           ![p].offered = IF write.frees THEN FirstOffer(p) ELSE @]
       /\ UNCHANGED <<late, cut, service, left, twice, probes, defied, reverted>>

\* A write is on its way when its sender gives it up.
DelayWrite(p) ==
    LET write == Writes(p)
    IN /\ write.some /\ CanWrite(p) /\ Fault("late write", 1) /\ late[p].owner = Nobody
       /\ late' = [late EXCEPT ![p] = [rec |-> write.rec, frees |-> write.frees, owner |-> p]]
       /\ srv' = [srv EXCEPT !.late[p] = TRUE]
       /\ rep' = IF HasReplica THEN [rep EXCEPT !.srv.late[p] = rep.srv.cur[p]] ELSE rep
       /\ st' = [st EXCEPT ![p].at = write.next, ![p].presented = @ \/ st[p].at = "put back",
                           ![p].offered = IF write.frees THEN FirstOffer(p) ELSE @]
       /\ UNCHANGED <<cut, service, left, twice, probes, defied, reverted>>

\* The lease is given, and the process never learns of it.
LoseLease(p) ==
    /\ Fault("lost write answer", 1) /\ AtLock(p) /\ Reaches(p) /\ Free(p)
    /\ srv' = [srv EXCEPT !.lock = p, !.cur = [q \in Procs |-> FALSE], !.late = [q \in Procs |-> FALSE]]
    /\ Unreplicated(p)
    /\ st' = [st EXCEPT ![p].at = IF @ = "idle" THEN "idle" ELSE "failed"]
    /\ UNCHANGED <<late, cut, service, left, twice, probes, defied, reverted>>

\* Some processes lose the store, or all do: each of them may need a private pair.
Disconnect ==
    /\ cut = {}
    /\ \E some \in SUBSET Procs \ {{}}: cut' = some /\ Fault("disconnect", Cardinality(some))
    /\ UNCHANGED <<srv, rep, st, late, service, left, twice, probes, defied, reverted>>

\* The service asks for a pause. Each call that meets it is made again.
Limit ==
    /\ Fault("limit", 0) /\ ~limited
    /\ limited' = TRUE
    /\ UNCHANGED <<srv, rep, st, late, cut, minted, good, live, dues, left, twice, probes, defied, reverted>>

\* Another server becomes the primary.
Failover ==
    /\ Fault("failover", 2) /\ rep.srv # srv
    /\ srv' = rep.srv /\ rep' = [srv |-> rep.srv, same |-> TRUE]
    /\ LET old == rep.srv.rec
       IN reverted' = (reverted \/ (old.rt = "good" /\ ~(srv.rec.rt = "good" /\ srv.rec.pair = old.pair)))
    /\ UNCHANGED <<st, late, cut, service, left, twice, probes, defied>>

Fails ==
    \/ \E p \in Procs: \/ Crash(p) \/ Sleep(p) \/ LoseAnswer(p) \/ LoseIssue(p) \/ DoubleRequest(p)
                       \/ LoseWriteAnswer(p) \/ DelayWrite(p) \/ LoseLease(p)
    \/ Disconnect \/ Limit \/ Failover

------------------------------------------------------------------------------
AllWell == \A p \in Procs: st[p].at = "idle" /\ Usable(st[p].mem)
Done == AllWell /\ UNCHANGED vars

Next == (\E p \in Procs: Step(p)) \/ Recovery \/ Fails \/ Done

Fairness ==
    /\ \A p \in Procs: WF_vars(Step(p)) /\ WF_vars(Wake(p))
    /\ WF_vars(LeaseEnds) /\ WF_vars(Reconnect) /\ WF_vars(PauseEnds)
Spec == Init /\ [][Next]_vars
FairSpec == Spec /\ Fairness

Symmetry == Permutations(Procs)

\* Invariant 1: once a byte of a refresh token has left, it is not presented again.
NoTokenTwice == ~twice
\* The same, except after a failover that has lost an intent.
NoTokenTwiceUnlessReverted == twice => reverted
\* Invariant 2, and the half of 5 that says what a crash costs: every call has a reason.
CallsHaveReasons == credit >= 0
\* Invariant 8: one call meets an obstacle, and one more for each other fault that happens meanwhile.
OneProbe == probes <= Max(1, Faults - faults)
NobodyDefies == ~defied
\* No state without a way out that is not a fault.
NoDeadEnd == AllWell \/ ENABLED ((\E p \in Procs: Step(p)) \/ Recovery)
\* One generation is one pair.
GenerationsGrow == [][srv'.rec.pair # srv.rec.pair => srv'.rec.gen > srv.rec.gen]_vars
\* Invariant 5 and 6: after the last fault every process has a token again.
Recovers == <>[]AllWell
=============================================================================
