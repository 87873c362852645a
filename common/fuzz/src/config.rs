//! Configurations: TOML, and the JSON of the seed project. What is accepted keeps every rule of `docs/operations.md`,
//! and says the same again when it is written out with nothing left to a default.

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use kvd::config::{Config, MAX_SERVERS, Server, host_of};
use toml::Value;

pub(crate) fn run(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let file = Path::new(if choice % 2 == 0 { "/etc/kv/kvd.toml" } else { "/etc/kv/seed.json" });
    match Config::parse(file, text) {
        Ok(config) => {
            rules(&config);
            selection(&config);
            let again = again(&config);
            assert_eq!(seen(config), seen(again), "written out, it says the same");
        }
        Err(error) => assert!(error.to_string().contains("try:"), "{error}"),
    }
}

fn rules(config: &Config) {
    let (servers, timing) = (&config.servers, &config.timing);
    assert!((1..=MAX_SERVERS).contains(&servers.len()));
    assert!(servers.is_sorted_by_key(|server| server.id));
    let all = |value: fn(&Server) -> String| servers.iter().map(value).collect::<BTreeSet<_>>().len();
    let distinct: [fn(&Server) -> String; 5] = [
        |server| server.id.to_string(),
        |server| server.name.clone(),
        |server| server.advertise.clone(),
        |server| server.log_dir.display().to_string(),
        |server| server.state_dir.display().to_string(),
    ];
    assert!(distinct.into_iter().all(|value| all(value) == servers.len()), "{servers:?}");
    for server in servers {
        assert!(server.id > 0 && (1..=64).contains(&server.name.len()), "{server:?}");
        assert!(!server.name.contains(['/', '\\', '\0']), "a name is part of a path: {server:?}");
        for address in [&server.advertise, &server.listen].into_iter().chain(&server.metrics) {
            let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            assert!(matches!(port, Some(Ok(1..))), "{address}");
            assert!(!host_of(address).is_empty(), "{address}");
        }
    }
    let (election, heartbeat) = (timing.election_timeout.as_millis(), timing.heartbeat.as_millis());
    assert!(
        (20..=60_000).contains(&election) && (10..=30_000).contains(&heartbeat) && heartbeat * 2 <= election
    );
    let dead = timing.dead_connection.as_millis();
    assert!((100..=600_000).contains(&dead) && dead >= 2 * election);
}

fn selection(config: &Config) {
    assert_eq!(config.select(None).is_ok(), config.servers.len() == 1);
    assert_eq!(config.endpoints().len(), config.servers.len());
    for server in &config.servers {
        let paths = config.tls_paths(server);
        assert!(config.tls.is_some() || paths.key.starts_with(config.pki_dir()));
        // A name may be another's number; whoever is found has been listed.
        for wanted in [server.name.clone(), server.id.to_string()] {
            assert!(config.select(Some(&wanted)).is_ok_and(|found| config.servers.contains(found)));
        }
    }
    if config.is_loopback() {
        let host = |server: &Server| host_of(&server.listen).to_owned();
        assert!(config.servers.iter().all(|server| {
            let host = host(server);
            host == "localhost" || host == "::1" || host.starts_with("127.") || host.starts_with("::ffff:")
        }));
    }
}

/// The same configuration with every key given.
fn again(config: &Config) -> Config {
    let quoted = |text: &dyn std::fmt::Display| Value::from(text.to_string()).to_string();
    let timing = &config.timing;
    let mut text = format!(
        "[cluster]\nname = {}\n[timing]\nelection_timeout_ms = {}\nheartbeat_ms = {}\ndead_connection_ms = {}\n",
        quoted(&config.name),
        timing.election_timeout.as_millis(),
        timing.heartbeat.as_millis(),
        timing.dead_connection.as_millis(),
    );
    let mut put = |line: String| text.write_str(&line).expect("a string takes everything");
    let log = &config.log;
    let mib = |bytes: u64| bytes / (1024 * 1024);
    put(format!(
        "[log]\nkeep_entries = {}\nmax_mib = {}\nsegment_mib = {}\nsnapshot_mib_per_second = {}\n",
        log.keeping.entries,
        mib(log.keeping.bytes),
        mib(log.segment_bytes),
        mib(log.snapshot_rate)
    ));
    // Whether it had to be said cannot be seen any more.
    put("[metrics]\nallow_remote = true\n".to_owned());
    if let Some(tls) = &config.tls {
        let [ca, cert, key] = [&tls.ca, &tls.cert, &tls.key].map(|path| quoted(path));
        put(format!("[tls]\nca = {ca}\ncert = {cert}\nkey = {key}\n"));
    }
    for server in &config.servers {
        let Server { id, name, advertise, listen, data_dir, log_dir, state_dir, metrics, joins } = server;
        let [name, address, listen] = [name, advertise, listen].map(|value| quoted(value));
        let [data, log, state] = [data_dir, log_dir, state_dir].map(|path| quoted(&path.display()));
        put(format!("[[server]]\nid = {id}\nname = {name}\naddress = {address}\nlisten = {listen}\n"));
        put(format!("data_dir = {data}\nlog_dir = {log}\nstate_dir = {state}\njoins = {joins}\n"));
        if let Some(metrics) = metrics {
            put(format!("metrics_listen = {}\n", quoted(metrics)));
        }
    }
    Config::parse(&config.file.with_extension("toml"), &text)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// All that a configuration says, but for the name of its file.
fn seen(config: Config) -> impl PartialEq + std::fmt::Debug {
    let Config { name, timing, log, tls, servers, folder, .. } = config;
    (name, timing, log, tls, servers, folder)
}
