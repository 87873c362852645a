//! The daemon's marks and mutants; what they are is said in `raft::instruments`.

raft::instruments! {
    marks {
        RequestTooLate: "a request that queued for all of its time is refused",
    }
    mutants {
        LogSkipsSync: "13: the log is written and not synced",
    }
}
