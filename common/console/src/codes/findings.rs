//! Every finding of `doctor`: something that is there and should not be, where no command has failed yet. The one list, whose
//! entries are what the findings are made with.

/// One kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// `KV-F12`.
    pub code: &'static str,
    /// The code in a word.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do.
    pub next: &'static str,
}

macro_rules! findings {
    ($($constant:ident = $code:literal $name:literal: $meaning:literal, $next:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: &Finding =
                &Finding { code: $code, name: $name, meaning: $meaning, next: $next };
        )*
        /// All of them, in order.
        pub const FINDINGS: &[&Finding] = &[$($constant),*];
    };
}

findings! {
    UNRESOLVED = "KV-F01" "unresolved":
        "The host name of an endpoint or a member has no address here.",
        "Correct the name, or the name service; `getent hosts NAME` shows what this machine finds.";
    REFUSED = "KV-F02" "refused":
        "The host is there and nothing listens at the port: the node does not run, or at another port.",
        "Start the node (`systemctl start kvd@NODE`) and read the end of its log; compare `listen` in its configuration.";
    SILENT = "KV-F03" "silent":
        "Nothing came back: the host is down, or something on the way drops UDP.",
        "Does the host answer at all? Then let UDP through to the port of the node, in both directions.";
    UNTRUSTED = "KV-F04" "untrusted":
        "The node is there, and one end does not accept the other's certificate: another CA, expired, or a clock is wrong.",
        "Is this the context of that cluster? Then `kvd pki renew`, copy the certificates and send the nodes SIGHUP.";
    PROTOCOL = "KV-F05" "protocol":
        "The node is there and speaks another version of the protocol.",
        "Use the kvctl that came with that kvd; `kvctl version` shows which protocol this one speaks.";
    OTHER_CLUSTER = "KV-F06" "other_cluster":
        "The endpoint is a node of another cluster than the first that answered.",
        "Take it out of the endpoints: `kvctl config view --origin` shows where they are said.";
    DROPPED = "KV-F07" "dropped":
        "The node took the connection and let it go: it is stopping, has no room, or answers what makes no sense.",
        "Run it again; if it stays so, the log of the node says why.";
    UNTRIED = "KV-F08" "untried":
        "This machine could not even try: no socket, no file descriptor, no path.",
        "The message is the operating system's; `ulimit -n` and the firewall of this machine are the usual reasons.";
    OWN_CERTIFICATE = "KV-F10" "own_certificate":
        "The certificate of this client has expired or soon will, and then no node lets it in.",
        "Whoever keeps the CA: `kvd pki renew`, and give out the new .kvctx file.";
    NODE_CERTIFICATE = "KV-F11" "node_certificate":
        "The certificate of a node has expired or soon will, and then neither clients nor members accept it.",
        "`kvd pki renew`, copy the certificate and the key to the node and send it SIGHUP; nothing is interrupted.";
    CLOCK = "KV-F12" "clock":
        "The clocks of two machines differ by more than a second. Certificates are judged by them, and times that are shown \
         are wrong; no write or read depends on them.",
        "Let each machine set its clock by NTP: `timedatectl` shows whether it does.";
    DISK_SPACE = "KV-F13" "disk_space":
        "The file system of a node's log or state is nearly full. A node whose disk is full takes no writes \
         and does not lead until there is room again.",
        "Free some, or `kvctl compact log NODE` at once; what takes the room is explained in docs/operations.md.";
    LEADERLESS = "KV-F14" "leaderless":
        "There is no leader, or too few nodes answer to make one: nothing can be written, and reads must be `stale`.",
        "Bring back the nodes that are missing; a majority of all members is needed.";
    DISAGREEMENT = "KV-F15" "disagreement":
        "Nodes of the same term name different leaders, or have different members.",
        "It passes within a second after an election. If it stays, the configurations of the nodes differ: compare them.";
    DIVERGED = "KV-F16" "diverged":
        "Nodes that applied the same writes have different states. This must never be.",
        "Stop writing, save a backup from each node (`kvctl -e NODE snapshot save`), and report it with a `debug bundle`.";
    VERSIONS = "KV-F17" "versions":
        "Nodes run different versions of kvd.",
        "Fine while a cluster is upgraded, one node after the other; finish it.";
    TROUBLE = "KV-F18" "trouble":
        "A node says itself that something is wrong with it.",
        "Its words say what; its log says more.";
    BEHIND = "KV-F19" "behind":
        "A node is more than a thousand entries behind: it just came back, or is slower than the others.",
        "Look again in a minute. If it falls further behind, its disk or its network is too slow: `kvctl top`.";
    DRAINED = "KV-F20" "drained":
        "A node leaves leading to others because somebody told it to.",
        "`kvctl drain NODE --undo` ends it, once the maintenance is over.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_unique_ordered_and_say_what_to_do() {
        assert!(FINDINGS.is_sorted_by(|a, b| a.code < b.code));
        for finding in FINDINGS {
            let number = finding.code.strip_prefix("KV-F").unwrap();
            assert!(number.len() == 2 && number.parse::<u8>().is_ok(), "{}", finding.code);
            assert!(finding.meaning.ends_with('.') && finding.next.ends_with(['.', '?']), "{}", finding.code);
        }
    }
}
