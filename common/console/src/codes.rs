//! Every code a failure can carry, with what it means and what to do: the one list, to which a test holds every place
//! that makes a failure. A code is never used for anything else and never removed.

use crate::exit::Exit;

pub mod findings;

/// One code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `KV-0401`.
    pub code: &'static str,
    /// The code in a word.
    pub name: &'static str,
    /// With what a command ends that fails so.
    pub exit: Exit,
    /// Whether a write may have taken effect all the same.
    pub may_be_applied: bool,
    /// What has happened.
    pub meaning: &'static str,
    /// What to do.
    pub next: &'static str,
}

const fn code(
    code: &'static str,
    name: &'static str,
    exit: Exit,
    meaning: &'static str,
    next: &'static str,
) -> Code {
    let may_be_applied = matches!(exit, Exit::Unknown);
    Code { code, name, exit, may_be_applied, meaning, next }
}

/// All of them, in order.
pub const CODES: &[Code] = &[
    code(
        "KV-0201",
        "usage",
        Exit::Usage,
        "The command line makes no sense. Nobody was asked and nothing was done.",
        "`kvctl COMMAND --help` shows what there is, with examples.",
    ),
    code(
        "KV-0202",
        "config",
        Exit::Usage,
        "A configuration file or a context is not TOML, or has a key that does not exist.",
        "The message names the file and the line. A context has endpoints, ca, cert, key and protected.",
    ),
    code(
        "KV-0203",
        "empty_key",
        Exit::Usage,
        "The key is the empty string, often a variable of a script that was never set.",
        "Give a key of 1 to 4096 bytes; in a script, quote the variable and check it.",
    ),
    code(
        "KV-0204",
        "no_context",
        Exit::Usage,
        "Nothing says which cluster is meant and with which certificates: no context is selected, and not all of --ca, \
         --cert and --key are given.",
        "Name a context with -C NAME or -C admin.kvctx, or with KVCTL_CONTEXT. `kvd dev` selects its own. On a node of the \
         cluster, -e unix:PATH of its kvd.sock needs no certificates.",
    ),
    code(
        "KV-0205",
        "unknown_context",
        Exit::Usage,
        "There is no context of that name in the configuration folder of this user.",
        "The hint lists those there are; a path to a .kvctx file will do as well. Under sudo and cron HOME is another.",
    ),
    code(
        "KV-0206",
        "unknown_node",
        Exit::Usage,
        "No member of the cluster has that name, id or address.",
        "`kvctl status` lists the members; HOST:PORT asks a node that no member names.",
    ),
    code(
        "KV-0207",
        "unknown_code",
        Exit::Usage,
        "`kvctl explain` knows no such code.",
        "`kvctl explain` without a code lists them all; a newer version may know more.",
    ),
    code(
        "KV-0208",
        "unknown_schema",
        Exit::Usage,
        "`kvctl schema` knows no document of that name.",
        "`kvctl schema` without a name lists them all; a newer version may know more.",
    ),
    code(
        "KV-0209",
        "unknown_page",
        Exit::Usage,
        "`kvctl man` has no page for that command.",
        "`kvctl --help` lists the commands.",
    ),
    code(
        "KV-0220",
        "bad_context_name",
        Exit::Usage,
        "The name of a context is also that of its file, and this cannot be one.",
        "Use letters, digits and - _ . @ and begin with none of - and dot; --name gives an imported file another name.",
    ),
    code(
        "KV-0221",
        "no_previous",
        Exit::Usage,
        "`kvctl context use -` goes back to the context that was selected before, and none was.",
        "`kvctl context ls` lists the contexts, `kvctl context use NAME` selects one.",
    ),
    code(
        "KV-0301",
        "unreachable",
        Exit::Unreachable,
        "No endpoint answered, so nothing was sent. `refused`: the host says that nothing listens there. `silent`: \
         nothing came back, the host is down or a firewall drops UDP. `unresolved`: the name has no address. \
         `version`: it speaks another version of the protocol.",
        "Start the nodes, correct the addresses, allow the port for UDP. The same command may then succeed.",
    ),
    code(
        "KV-0401",
        "no_leader",
        Exit::NoLeader,
        "Nodes answered, but none leads, or the leader has no quorum. Nothing was done.",
        "An election takes about a second: retry. If it stays so, more than half of the voters are gone: `kvctl \
         status` shows which.",
    ),
    code(
        "KV-0501",
        "deadline",
        Exit::Deadline,
        "The time was up before an answer came. It was a read, or the write was never sent: nothing was done.",
        "Retry, or give more time with --timeout. `kvctl check latency` shows how slow the cluster is.",
    ),
    code(
        "KV-0502",
        "busy",
        Exit::Deadline,
        "A queue of the node is full. Nothing was done.",
        "Retry a little later, with fewer requests at once.",
    ),
    code(
        "KV-0503",
        "wait_expired",
        Exit::Deadline,
        "What `kvctl wait` waited for was not so in time. The message ends with what was so last.",
        "Wait longer with --timeout, or see `kvctl status`.",
    ),
    code(
        "KV-0601",
        "unknown",
        Exit::Unknown,
        "The write was sent and nobody said what became of it: it took effect, it did not, or it still will.",
        "Repeat the same command with the --request-id of the message. The write is then applied once, whether or not \
         it had been.",
    ),
    code(
        "KV-0602",
        "unknown",
        Exit::Unknown,
        "The node took the write and lost its place in the log to another leader: it may have taken effect.",
        "Read the key to see.",
    ),
    code(
        "KV-0603",
        "unknown",
        Exit::Unknown,
        "A node was asked to change who leads, and did not say what became of that: it happened, it did not, or it still will.",
        "Ask again, which is safe; `kvctl leader` and `kvctl status` show how it is.",
    ),
    code(
        "KV-0604",
        "unknown",
        Exit::Unknown,
        "A change of members was asked for, and nobody said what became of it: it happened, it did not, or it still will.",
        "Ask again, which is safe; `kvctl member ls` shows how it is.",
    ),
    code(
        "KV-0701",
        "denied",
        Exit::Denied,
        "Every endpoint failed the TLS handshake: a certificate has expired, or belongs to another cluster; or the socket of \
         a node on this machine is not open to this user. Nothing was sent.",
        "Is this the context of that cluster? `kvd pki` issues and renews certificates; look at both clocks as well. For a \
         socket: sudo.",
    ),
    code(
        "KV-0702",
        "exposed_key",
        Exit::Denied,
        "A file that holds a private key can be read by its group or by others, so it was not used.",
        "chmod 600 FILE; if others may have read it, issue a new certificate.",
    ),
    code(
        "KV-0703",
        "bad_identity",
        Exit::Denied,
        "The certificates or the key are no PEM, or the key does not belong to the certificate.",
        "Compare the files that ca, cert and key name with those that `kvd pki` wrote.",
    ),
    code(
        "KV-0801",
        "too_large",
        Exit::Refused,
        "The key is longer than 4096 bytes, or the value longer than 512 KiB. Nothing was done.",
        "Store less, or cut it into several keys.",
    ),
    code(
        "KV-0802",
        "invalid",
        Exit::Refused,
        "The server could not make sense of the request. Nothing was done.",
        "Are kvctl and kvd of versions that belong together? `kvctl version` and `kvctl status` tell.",
    ),
    code(
        "KV-0803",
        "expired",
        Exit::Refused,
        "The request id is older than what the cluster remembers, so the write was not applied again.",
        "Read the key to see whether the first one took effect; if not, write without --request-id.",
    ),
    code(
        "KV-0804",
        "bad_request_id",
        Exit::Refused,
        "The request id belongs to another write or to another cluster. Nothing was done.",
        "Give an id only to a repetition of the very same command on the same cluster.",
    ),
    code(
        "KV-0805",
        "unavailable",
        Exit::Refused,
        "The node serves nothing at the moment, as its words say: for one its disk is full, or it is stopping.",
        "Ask another node with -e, and see to this one: `kvctl status` shows its trouble.",
    ),
    code(
        "KV-0806",
        "not_a_number",
        Exit::Refused,
        "The key holds something else than the decimal text of a whole number of 64 bits. Nothing was changed.",
        "Look at it with `kvctl get`; set it to a number, or count in another key.",
    ),
    code(
        "KV-0807",
        "overflow",
        Exit::Refused,
        "The sum would be below -9223372036854775808 or above 9223372036854775807. Nothing was changed.",
        "Add less, or set the key to a smaller number first.",
    ),
    code(
        "KV-0808",
        "too_many",
        Exit::Refused,
        "More keys are in the prefix or range than --max allows. Nothing was deleted.",
        "Name fewer keys, or allow more with --max, at most 10000; then repeat it for the rest.",
    ),
    code(
        "KV-0809",
        "too_much",
        Exit::Refused,
        "What the reads of the transaction find is more than 768 KiB. Nothing was changed.",
        "Read fewer keys in it, or read them before and compare their revisions in it.",
    ),
    code(
        "KV-0812",
        "not_kept",
        Exit::Refused,
        "What is asked for is older than what the cluster keeps of the past. The message says which revision is the oldest. \
         Nothing was read, and nothing written.",
        "Read the oldest, or a later one. `kvctl retention` shows how much is kept and changes it for what is to come.",
    ),
    code(
        "KV-0820",
        "exists",
        Exit::Refused,
        "There is a context or a file of that name already. Nothing was changed.",
        "Choose another name, or take the place of the old one with --replace.",
    ),
    code(
        "KV-0830",
        "other_cluster",
        Exit::Refused,
        "The cursor of a watch is of another cluster than the one that is asked. Nothing was shown.",
        "Is this the context that is meant? Each cluster needs a cursor file of its own.",
    ),
    code(
        "KV-0840",
        "lease_limit",
        Exit::Refused,
        "There are as many leases as may be, or the lease holds as many keys as one may, or the keys of all leases are too \
         large together; the message names the limit. Nothing was changed.",
        "Put keys that go together under one lease, grant another lease for further keys, or wait until some are over.",
    ),
    code(
        "KV-0850",
        "unsafe",
        Exit::Refused,
        "A change of members would leave the cluster with too few voters that answer and keep up, or would make a server \
         vote that has not caught up: writes would stop, or wait. Nothing was changed.",
        "Mend or catch up the servers that the message names; `kvctl status` shows their lag. If they are lost for good, \
         repeat the command with --force and --confirm.",
    ),
    code(
        "KV-0851",
        "not_fit",
        Exit::Refused,
        "The server at the address is not the one that is meant: it has another name or id, is of another cluster, or the \
         address or the id is that of a member. Nothing was changed.",
        "Compare what the message names with the configuration of the server; `kvctl member ls` lists the members.",
    ),
    code(
        "KV-0852",
        "name_taken",
        Exit::Refused,
        "Another server has the name already, as a member or recorded to become one. Nothing was changed.",
        "Give the new server a name of its own, in its configuration as well.",
    ),
    code(
        "KV-0853",
        "too_many_members",
        Exit::Refused,
        "The cluster keeps names and addresses of as many servers as it can. Nothing was changed.",
        "Remove a member first; `kvctl member ls` lists them.",
    ),
    code(
        "KV-0854",
        "last_voter",
        Exit::Refused,
        "Without its only voter the cluster could not write any more. Nothing was changed.",
        "Add a server first, or let another take its place with `kvctl member replace`.",
    ),
    code(
        "KV-0860",
        "staging_lost",
        Exit::Refused,
        "What a restore had staged is not there any more: another one began, or was aborted. No key was replaced by this one.",
        "Find out who else restores; then run it again, without --resume.",
    ),
    code(
        "KV-0901",
        "no_end",
        Exit::Integrity,
        "A file that was imported has no line with its end: it was cut off, or somebody wrote it by hand. Its rows were \
         written.",
        "Export it again, or take it as it is with --no-end.",
    ),
    code(
        "KV-0902",
        "bad_line",
        Exit::Integrity,
        "A line of a file that is imported is no row, or its end counts other keys than came before it. The rows before it \
         were written.",
        "The message names the line. A row is an object with key or key_b64, and value or value_b64.",
    ),
    code(
        "KV-0903",
        "damaged",
        Exit::Integrity,
        "A file is no sound backup: a checksum does not match, it was cut off, what it holds contradicts itself, or it never \
         was one. The message says at which byte and what is wrong.",
        "Look at another copy with `kvctl snapshot verify`, or save again. Nothing is restored from a damaged one.",
    ),
    code(
        "KV-1001",
        "cut_off",
        Exit::Partial,
        "A scan ended before its end: its connection broke and something was written since, so that nobody can serve the \
         rest at the same revision, or it took longer than a node holds a view of its state. The rows that were shown are \
         right; there are more.",
        "Run it again, or go on with --after and the last key, at another revision. A reader that is slow should write to a \
         file first.",
    ),
    code(
        "KV-1002",
        "save_cut",
        Exit::Partial,
        "A backup ended before its end: its connection or its node went, it took longer than a node allows, or it was damaged \
         on the way. No file was written; what went to stdout has no end and is taken for a backup by nobody.",
        "Run it again. A reader that is slow should write to a file first: a node waits a minute for each block, an hour for all.",
    ),
    code(
        "KV-1120",
        "protected",
        Exit::Declined,
        "The context says `protected = true`: whoever changes something through it must name it. Nothing was done.",
        "If that is the cluster you mean, repeat the command with --confirm and the context's name; in kvshell `\\writable`.",
    ),
    code(
        "KV-1121",
        "not_confirmed",
        Exit::Declined,
        "Another context was confirmed than the one that is used. Nothing was done.",
        "`kvctl config view --origin` shows which context is used and who names it; -C NAME chooses one.",
    ),
    code(
        "KV-1122",
        "force_unconfirmed",
        Exit::Declined,
        "A change that may stop the cluster's writes was to be forced, or all keys were to be replaced by a backup, and nothing \
         says that this cluster is the one that is meant. Nothing was done.",
        "Repeat the command with --confirm and the context's name, or the cluster's id of `kvctl status` without a context.",
    ),
    code(
        "KV-1201",
        "file",
        Exit::File,
        "A local file could not be read or written.",
        "The message names the file and the reason of the operating system.",
    ),
    code(
        "KV-1202",
        "stream",
        Exit::File,
        "Standard output or input failed, or a local command could not be run. What the command did on the cluster is \
         done.",
        "Is the disk full that the output goes to?",
    ),
    code(
        "KV-1203",
        "file_exists",
        Exit::File,
        "There is a file at the place of the backup already, or something that is no file. Nothing was asked for.",
        "Name another file, or replace the one that is there with --force.",
    ),
    code(
        "KV-1230",
        "cursor",
        Exit::File,
        "The file that was named with --cursor is there and is no cursor of a watch.",
        "Name another file, or remove this one to begin anew.",
    ),
    code(
        "KV-1231",
        "exec",
        Exit::File,
        "A command (of `watch --exec`, `lock`, `elect`) could not be run; the exit code is 127 where it is not there and 126 where it may not \
         be run, as of env. The event was not taken for seen.",
        "Check the path and that it may be executed, then begin again, a watch with the same cursor.",
    ),
    code(
        "KV-1232",
        "lease_lost",
        Exit::File,
        "A lock or an election is held no longer: its lease could not be renewed in time, or was ended, or its key removed. The \
         command was told to end, and killed where it had not before the lease could end. The exit code is 122.",
        "Look at `kvctl status`, and run it again. A longer --ttl lives through longer troubles.",
    ),
    code(
        "KV-1233",
        "wait_over",
        Exit::File,
        "The lock was held by another for all the time of --wait. Nothing was run. The exit code is 124.",
        "Wait longer, or see with `kvctl get NAME` who holds it and why so long.",
    ),
    code(
        "KV-1301",
        "interrupted",
        Exit::Interrupted,
        "Ctrl-C ended a command that writes nothing.",
        "Run it again.",
    ),
    Code {
        may_be_applied: true,
        ..code(
            "KV-1302",
            "interrupted",
            Exit::Interrupted,
            "Ctrl-C ended a change that may have been sent.",
            "Look at what it was to change, a key or `kvctl status`, to see.",
        )
    },
    code(
        "KV-1401",
        "pipe",
        Exit::Pipe,
        "Whoever read the output has gone, as `head` does when it has seen enough. Nothing is said of it.",
        "Nothing; with `set -o pipefail` a script sees it as 141.",
    ),
    code(
        "KV-7001",
        "internal",
        Exit::Internal,
        "The program did not do what its authors meant.",
        "Please report it with the command and its message.",
    ),
];

#[cfg(test)]
mod tests;
