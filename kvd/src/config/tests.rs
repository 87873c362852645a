//! Every rule of a configuration, each by the refusal it causes.

use super::*;

const THREE: &str = r#"
[cluster]
name = "prod"
[[server]]
id = 1
address = "a.example.org:7400"
listen = "0.0.0.0:7400"
[[server]]
id = 2
name = "second"
address = "[2001:db8::2]:7400"
data_dir = "elsewhere"
[[server]]
id = 3
address = "10.0.0.3:7400"
log_dir = "/fast/log"
"#;

fn toml(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/kv/kvd.toml"), text)
}

fn json(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/kv/seed.json"), text)
}

#[track_caller]
fn refused(outcome: Result<Config, ConfigError>, key: &str, value: &str, remedy: &str) {
    let ConfigError::Refused { file, complaint } = outcome.expect_err("must be refused") else {
        panic!("another refusal");
    };
    assert!(file.starts_with("/etc/kv"));
    assert_eq!((complaint.key.as_str(), complaint.value.as_str()), (key, value), "{complaint}");
    assert!(complaint.remedy.contains(remedy), "{complaint}");
}

fn two(first: &str, second: &str) -> String {
    format!(
        r#"{{"object":{{"total":2,"Servers":[{{"mypid":1,"url":"{first}"}},{{"mypid":2,"url":"{second}"}}]}}}}"#
    )
}

#[test]
fn toml_with_defaults() {
    let config = toml(THREE).unwrap();
    assert_eq!(config.name, "prod");
    assert_eq!(config.timing.election_timeout, Duration::from_millis(200));
    assert_eq!(config.timing.heartbeat, Duration::from_millis(50));
    assert_eq!(config.timing.dead_connection, Duration::from_secs(2));
    let [first, second, third] = &config.servers[..] else { panic!() };
    assert_eq!((first.name.as_str(), first.listen.as_str()), ("n1", "0.0.0.0:7400"));
    assert_eq!(first.state_dir, Path::new("/etc/kv/kv-data/n1/state"));
    assert_eq!((second.listen.as_str(), second.name.as_str()), ("[2001:db8::2]:7400", "second"));
    assert_eq!(second.log_dir, Path::new("/etc/kv/elsewhere/log"));
    assert_eq!(third.log_dir, Path::new("/fast/log"));
    assert!(!config.is_loopback());
    assert_eq!(config.select(Some("second")).unwrap().id, 2);
    assert_eq!(config.select(Some("3")).unwrap().id, 3);
    assert!(config.select(Some("n9")).unwrap_err().to_string().contains("name one of n1, second, n3"));
    assert!(config.select(None).unwrap_err().to_string().contains("--node"));
}

#[test]
fn certificate_names_may_hold_the_servers_name() {
    let text = format!("[tls]\nca = \"ca.pem\"\ncert = \"{{name}}.pem\"\nkey = \"/k/{{id}}.pem\"\n{THREE}");
    let config = toml(&text).unwrap();
    let paths = config.tls_paths(&config.servers[1]);
    assert_eq!(paths.ca, Path::new("/etc/kv/ca.pem"));
    assert_eq!(paths.cert, Path::new("/etc/kv/second.pem"));
    assert_eq!(paths.key, Path::new("/k/2.pem"));
}

#[test]
fn seed_json() {
    let config = json(&two("127.0.0.1:7401", "localhost:7402")).unwrap();
    assert_eq!(config.endpoints(), ["127.0.0.1:7401", "localhost:7402"]);
    assert!(config.is_loopback());
    assert_eq!(config.servers[1].name, "n2");
    // The notation is told from the text too.
    assert!(toml(&two("[::1]:1", "[::1]:2")).unwrap().is_loopback());
    assert!(!toml(&two("[::1]:1", "[fe80::1]:2")).unwrap().is_loopback());
}

#[test]
fn seed_json_refusals() {
    let wrong = two("a:1", "b:1").replace("\"total\":2", "\"total\":3");
    refused(json(&wrong), "object.total", "3", "set it to 2");
    refused(json(&two("127.0.0.1:100001", "b:1")), "object.Servers[0].url", "127.0.0.1:100001", "1 to 65535");
    let twice = two("a:1", "b:1").replace("\"mypid\":2", "\"mypid\":1");
    refused(json(&twice), "object.Servers[1].mypid", "1", "own id");
    refused(json(&two("a:1", "A:1")), "object.Servers[1].url", "a:1", "own host or port");
    let zero = two("a:1", "b:1").replace("\"mypid\":2", "\"mypid\":0");
    refused(json(&zero), "object.Servers[1].mypid", "0", "number the servers");
    refused(json("{\"object\":\n nonsense"), "line 2", "nonsense", "object");
    refused(json("{\"objekt\": 1}"), "line 1", "{\"objekt\": 1}", "object");
    refused(json(r#"{"object":{"total":0,"Servers":[]}}"#), "object.Servers", "none", "list every server");
}

#[test]
fn address_refusals() {
    for (address, remedy) in [
        ("10.0.0.1", "host:port"),
        ("10.0.0.1:", "host:port"),
        ("10.0.0.1:0", "1 to 65535"),
        ("10.0.0.1:65536", "1 to 65535"),
        ("10.0.0.1:99999999999999999999", "1 to 65535"),
        ("10.0.0.1:-1", "host:port"),
        ("10.0.0.256:1", "host:port"),
        ("2001:db8::1:7400", "[2001:db8::1]:7400"),
        ("[2001:db8::1:7400", "host:port"),
        (":7400", "host:port"),
        ("a..b:7400", "host:port"),
        ("a b:7400", "host:port"),
        ("0.0.0.0:7400", "listen"),
        ("[::]:7400", "listen"),
    ] {
        refused(json(&two("a:1", address)), "object.Servers[1].url", address, remedy);
    }
    assert!(json(&two("a:1", "b:65535")).is_ok());
    let text = THREE.replace("0.0.0.0:7400", "0.0.0.0:70000");
    refused(toml(&text), "server[0].listen", "0.0.0.0:70000", "1 to 65535");
}

#[test]
fn timing_refusals() {
    let timed = |timing: &str| toml(&format!("[timing]\n{timing}\n{THREE}"));
    assert!(timed("heartbeat_ms = 100").is_ok());
    refused(timed("heartbeat_ms = 101"), "timing.heartbeat_ms", "101", "at most 100");
    refused(timed("heartbeat_ms = 9"), "timing.heartbeat_ms", "9", "10 to");
    refused(timed("election_timeout_ms = 99"), "timing.heartbeat_ms", "50", "at most 49");
    refused(timed("election_timeout_ms = 60001"), "timing.election_timeout_ms", "60001", "60000");
    refused(timed("dead_connection_ms = 399"), "timing.dead_connection_ms", "399", "at least 400");
    assert!(timed("dead_connection_ms = 400").is_ok());
    refused(timed("heartbeat_ms = -5"), "line 2", "heartbeat_ms = -5", "correct that line");
}

#[test]
fn log_refusals() {
    let logged = |log: &str| toml(&format!("[log]\n{log}\n{THREE}"));
    let config =
        logged("keep_entries = 0\nmax_mib = 8\nsegment_mib = 2\nsnapshot_mib_per_second = 1").unwrap();
    assert_eq!((config.log.keeping.entries, config.log.keeping.bytes), (0, 8 << 20));
    assert_eq!((config.log.segment_bytes, config.log.snapshot_rate), (2 << 20, 1 << 20));
    assert_eq!(toml(THREE).unwrap().log.keeping, Keeping::default());
    refused(logged("max_mib = 255"), "log.max_mib", "255", "at least 256");
    assert!(logged("max_mib = 256").is_ok());
    refused(logged("max_mib = 7\nsegment_mib = 2"), "log.max_mib", "7", "8 to");
    refused(logged("segment_mib = 1"), "log.segment_mib", "1", "2 to 1024");
    refused(logged("segment_mib = 1025"), "log.segment_mib", "1025", "2 to 1024");
    refused(logged("keep_entries = 1000000001"), "log.keep_entries", "1000000001", "0 to");
    refused(logged("snapshot_mib_per_second = 0"), "log.snapshot_mib_per_second", "0", "1 to");
    refused(logged("keep = 1"), "line 2", "keep = 1", "operations.md");
}

#[test]
fn metrics_are_for_this_machine_unless_they_are_said_to_be_for_others() {
    let listening = |table: &str| toml(&format!("[metrics]\n{table}\n{THREE}"));
    let of = |config: Config| config.servers.into_iter().map(|server| server.metrics).collect::<Vec<_>>();
    assert_eq!(of(toml(THREE).unwrap()), [None, None, None]);
    let same = Some("127.0.0.1:9400".to_owned());
    assert_eq!(
        of(listening("listen = \"127.0.0.1:9400\"").unwrap()),
        [same.clone(), same.clone(), same.clone()]
    );
    let each = of(listening("listen = \"localhost:940{id}\"").unwrap());
    assert_eq!(each, ["localhost:9401", "localhost:9402", "localhost:9403"].map(|own| Some(own.to_owned())));
    let open = "0.0.0.0:9400";
    refused(
        listening(&format!("listen = \"{open}\"")),
        "metrics.listen",
        open,
        "metrics.allow_remote = true",
    );
    assert!(listening(&format!("listen = \"{open}\"\nallow_remote = true")).is_ok());
    refused(listening("listen = \"127.0.0.1\""), "metrics.listen", "127.0.0.1", "host:port");
    refused(
        listening("listen = \"127.0.0.1:6553{id}6\""),
        "metrics.listen",
        "127.0.0.1:655316",
        "1 to 65535",
    );
    let own = THREE.replace("id = 2", "id = 2\nmetrics_listen = \"[::1]:9\"");
    assert_eq!(of(toml(&own).unwrap()), [None, Some("[::1]:9".to_owned()), None]);
    let own = THREE.replace("id = 2", "id = 2\nmetrics_listen = \"10.0.0.2:9\"");
    refused(toml(&own), "server[1].metrics_listen", "10.0.0.2:9", "allow_remote");
    let shared = "[metrics]\nlisten = \"127.0.0.1:9400\"\n[[server]]\nid = 1\naddress = \"a:1\"\n[[server]]\nid = 2\naddress = \"a:2\"";
    refused(toml(shared), "server[1].metrics_listen", "127.0.0.1:9400 on a", "{id}");
}

#[test]
fn unknown_and_mistyped_keys_are_refused_by_their_line() {
    refused(
        toml(&format!("[timing]\nhartbeat_ms = 5\n{THREE}")),
        "line 2",
        "hartbeat_ms = 5",
        "operations.md",
    );
    refused(toml("[[server]]\nid = \"one\"\naddress = \"a:1\""), "line 2", "id = \"one\"", "operations.md");
    refused(toml("no toml at all"), "line 1", "no toml at all", "operations.md");
    refused(toml(""), "server", "none", "list every server");
}

#[test]
fn names_and_directories_are_distinct_and_plain() {
    let named = |name: &str| toml(&THREE.replace("second", name));
    refused(named("n1"), "server[1].name", "n1", "own name");
    refused(named("../up"), "server[1].name", "../up", "letters");
    refused(named(""), "server[1].name", "", "letters");
    let long = "x".repeat(65);
    refused(named(&long), "server[1].name", &long, "at most 64");
    assert!(named(&"x".repeat(64)).is_ok());
    let same = THREE.replace("log_dir = \"/fast/log\"", "log_dir = \"/x\"\nstate_dir = \"/x\"");
    refused(toml(&same), "server[2].state_dir", "/x", "own directory");
    // The file of events and the admin socket lie there, wherever log and state do.
    let own = |id| format!("data_dir = \"/x\"\nlog_dir = \"/log{id}\"\nstate_dir = \"/state{id}\"");
    let shared =
        THREE.replace("data_dir = \"elsewhere\"", &own(2)).replace("log_dir = \"/fast/log\"", &own(3));
    refused(toml(&shared), "server[2].data_dir", "/x", "own directory");
}

#[test]
fn number_of_servers_is_bounded() {
    let listed = |number: usize| {
        let servers: Vec<_> = (1..=number).map(|id| format!(r#"{{"mypid":{id},"url":"h{id}:1"}}"#)).collect();
        json(&format!(r#"{{"object":{{"total":{number},"Servers":[{}]}}}}"#, servers.join(",")))
    };
    assert!(listed(MAX_SERVERS).is_ok());
    refused(listed(MAX_SERVERS + 1), "object.Servers", "32", "list fewer");
}

#[test]
fn a_file_that_is_not_there() {
    let error = Config::load(Path::new("/nowhere/kvd.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/kvd.toml: cannot be read"));
}

#[test]
fn hosts_lose_their_brackets() {
    assert_eq!(host_of("[::1]:7400"), "::1");
    assert_eq!(host_of("db1:7400"), "db1");
}

#[test]
fn every_number_has_bounds_and_is_tested_at_them() {
    // What else must be so for that number to be taken, and the two bounds.
    for (table, key, least, most, beside) in [
        (
            "timing",
            "election_timeout_ms",
            20,
            60_000,
            ["heartbeat_ms = 10\n", "dead_connection_ms = 600000\n"],
        ),
        (
            "timing",
            "heartbeat_ms",
            10,
            30_000,
            ["", "election_timeout_ms = 60000\ndead_connection_ms = 600000\n"],
        ),
        ("timing", "dead_connection_ms", 100, 600_000, ["election_timeout_ms = 50\nheartbeat_ms = 10\n", ""]),
        ("log", "keep_entries", 0, 1_000_000_000, ["", ""]),
        ("log", "segment_mib", 2, 1024, ["", "max_mib = 4096\n"]),
        ("log", "max_mib", 8, 1024 * 1024, ["segment_mib = 2\n", ""]),
        ("log", "snapshot_mib_per_second", 1, 10_000, ["", ""]),
    ] {
        let with = |number: u64, beside: &str| toml(&format!("[{table}]\n{beside}{key} = {number}\n{THREE}"));
        for (number, beside) in [(least, beside[0]), (most, beside[1])] {
            assert!(with(number, beside).is_ok(), "{key} = {number}: {:?}", with(number, beside));
        }
        let refused = |number: u64, beside| {
            refused(
                with(number, beside),
                &format!("{table}.{key}"),
                &number.to_string(),
                &format!("{least} to {most}"),
            );
        };
        refused(most + 1, beside[1]);
        if least > 0 {
            refused(least - 1, beside[0]);
        }
    }
}

#[test]
fn a_file_has_a_longest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kvd.toml");
    let mut text = THREE.to_owned() + "#";
    text += &"x".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() - text.len());
    std::fs::write(&path, &text).unwrap();
    assert!(Config::load(&path).is_ok());
    text.push('x');
    std::fs::write(&path, &text).unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.contains("longer than 1048576 bytes"), "{error}");
}
