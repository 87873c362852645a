//! The `kvd` program: understand the arguments, begin logging, do the one thing asked, end with a code.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to people in its main")]

use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use kvd::{
    bootstrap::{self, Purpose, StartError},
    cli::{self, Cli, Command, ConfigCommand, Exit, Invocation, Issue, Pki},
    config::{Config, ConfigError},
    dev::{self, DevError},
    logging::{self, LogFormat},
    pages,
    pki::{self, PkiError},
    recover::{self, Plan, RecoverError, Survivor},
    restore::{self, RestoreError},
    run::{self, RunError},
};

fn main() -> ExitCode {
    let invocation = match Invocation::parse(std::env::args_os().collect()) {
        Ok(invocation) => invocation,
        Err(error) => error.exit(),
    };
    let format = invocation.log_format();
    logging::start(format);
    let outcome = match invocation {
        Invocation::Seed(seed) => run_seed(&seed),
        Invocation::Command(cli) => command(cli),
    };
    outcome.unwrap_or_else(|failure| {
        match format {
            LogFormat::Human => eprintln!("error: {}", failure.text),
            LogFormat::Json => tracing::error!("{}", failure.text),
        }
        ExitCode::from(failure.exit)
    })
}

fn command(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Run(run) => run_node(&run, Purpose::Run),
        Command::Join(run) => run_node(&run, Purpose::Join),
        Command::Restore(arguments) => restore_node(&arguments),
        Command::Recover(arguments) => recover_cluster(&arguments),
        Command::Config(ConfigCommand::Check { file }) => check(&file),
        Command::Pki(command) => make_certificates(command),
        Command::Man(man) => show_pages(&man),
        Command::Completion(wanted) => print(pages::completion(wanted.shell).as_bytes()),
        Command::Dev(arguments) => Ok(ExitCode::from(dev::run(&arguments, &mut io::stdout())?)),
    }
}

fn run_node(arguments: &cli::Run, purpose: Purpose) -> Result<ExitCode, Failure> {
    let config = Config::load(&arguments.config)?;
    let launch = bootstrap::prepare(config, arguments.node.as_deref(), None, purpose)?;
    run::run(launch, arguments.until_stdin_closes)?;
    Ok(Exit::Success.into())
}

fn restore_node(arguments: &cli::Restore) -> Result<ExitCode, Failure> {
    let config = Config::load(&arguments.config)?;
    let restored =
        restore::restore(&config, arguments.node.as_deref(), &arguments.snapshot, &arguments.name)?;
    let (backup, at) = (&restored.backup, restored.backup.head.at.index.0);
    println!("✓ {}: {} keys of revision {at} of cluster {}", restored.node, backup.keys, backup.head.cluster);
    println!("  cluster {}; its revisions go on after {}", restored.cluster, restored.revision);
    println!("  try: the same on every other server, then `kvd run` on each");
    Ok(Exit::Success.into())
}

fn recover_cluster(arguments: &cli::Recover) -> Result<ExitCode, Failure> {
    match arguments {
        cli::Recover::Inspect { dirs } => Ok(survivors(dirs).1.into()),
        cli::Recover::Plan { dirs, out } => {
            // What is of no use is shown, and does not hinder.
            let (found, _) = survivors(dirs);
            let plan = Plan::of(&found)?;
            plan.write(out)?;
            println!("{}", at_risk(&plan));
            println!("Plan: {} — a new cluster with what node {} has", out.display(), plan.node);
            let accept = if plan.may_lose_writes { " --accept-loss" } else { "" };
            println!(
                "  try: kvd recover apply --data-dir {} --plan {}{accept}",
                plan.data_dir,
                out.display()
            );
            Ok(Exit::Success.into())
        }
        cli::Recover::Apply { data_dir, plan: file, backup, accept_loss } => {
            let plan = Plan::read(file)?;
            let rescued = recover::rescue(data_dir, (&plan, file), backup, *accept_loss)?;
            let (summary, at) = (&rescued.backup, rescued.backup.head.at.index.0);
            println!(
                "✓ {}: {} keys of revision {at}, {} entries of the log replayed",
                backup.display(),
                summary.keys,
                rescued.replayed
            );
            println!("{}", at_risk(&plan));
            if let Some(since) = since(&plan, &rescued.again) {
                println!("{since}");
            }
            println!("  try: kvd restore {} on each server of a new cluster", backup.display());
            Ok(Exit::Success.into())
        }
    }
}

type Looked = Vec<(recover::Place, Result<Survivor, RecoverError>)>;

/// Looks at all directories, and shows them.
fn survivors(dirs: &[recover::Place]) -> (Looked, Exit) {
    let found: Looked = dirs.iter().map(|dir| (dir.clone(), recover::inspect(dir))).collect();
    println!("{}", recover::table(&found));
    let exits = found.iter().filter_map(|(_, found)| found.as_ref().err()).map(RecoverError::exit);
    let exit = exits.fold(Exit::Success, |worst, exit| match (worst, exit) {
        (Exit::Integrity, _) | (_, Exit::Integrity) => Exit::Integrity,
        (Exit::Disk, _) | (_, Exit::Disk) => Exit::Disk,
        _ => Exit::No,
    });
    (found, exit)
}

/// What the plan cannot know of, where nobody could look again.
fn since(plan: &Plan, again: &recover::Again) -> Option<String> {
    let gone = again.gone.join(", ");
    let age = plan.age();
    (!gone.is_empty()).then(|| {
        format!(
            "The plan is {age} old, and {gone} is not there to be looked at again: what its node acknowledged since is missing."
        )
    })
}

fn at_risk(plan: &Plan) -> &'static str {
    if plan.may_lose_writes {
        "At risk: writes acknowledged only by lost nodes cannot be ruled out."
    } else {
        "At risk: nothing that was acknowledged; every majority has a node among these."
    }
}

fn run_seed(seed: &cli::Seed) -> Result<ExitCode, Failure> {
    let config = Config::load(&seed.config)?;
    let directories = (seed.log.clone(), seed.database.clone());
    let launch = bootstrap::prepare(config, Some(&seed.pid.to_string()), Some(directories), Purpose::Run)?;
    run::run(launch, false)?;
    Ok(Exit::Success.into())
}

fn check(file: &Path) -> Result<ExitCode, Failure> {
    let config = Config::load(file)?;
    println!("✓ {}: {} servers: {}", file.display(), config.servers.len(), config.endpoints().join(", "));
    Ok(Exit::Success.into())
}

fn make_certificates(command: Pki) -> Result<ExitCode, Failure> {
    match command {
        Pki::Init { place, name, days } => {
            pki::init(&place.dir, &name, days)?;
            println!("✓ {}: authority for {days} days; keep ca-key.pem to yourself", place.dir.display());
        }
        Pki::Issue(Issue::Node { id, hosts, place, days }) => {
            let paths = pki::issue_node(&place.dir, id, &hosts, days)?;
            println!("✓ {} and its key, for {days} days", paths.cert.display());
        }
        Pki::Issue(Issue::Client { name, endpoints, place, days }) => {
            let file = pki::issue_client(&place.dir, &name, &endpoints, days)?;
            println!("✓ {}, for {days} days\n  try: kvctl -C {0} status", file.display());
        }
        Pki::Renew { place, days } => {
            for file in pki::renew(&place.dir, days)? {
                println!("✓ {}, for {days} days", file.display());
            }
            println!("  copy each to where it is used; a node takes it up on SIGHUP");
        }
    }
    Ok(Exit::Success.into())
}

fn show_pages(man: &cli::Man) -> Result<ExitCode, Failure> {
    if let Some(dir) = &man.dir {
        let written = pages::write(dir).map_err(|error| Failure {
            text: format!("cannot write into {}: {error}", dir.display()),
            exit: Exit::Disk as u8,
        })?;
        println!("✓ {}: {written} pages", dir.display());
        return Ok(Exit::Success.into());
    }
    let page = pages::page(&man.command).ok_or_else(|| Failure {
        text: format!("there is no command `{}`; `kvd --help` lists them all", man.command.join(" ")),
        exit: Exit::Usage as u8,
    })?;
    print(&page.map_err(|error| Failure {
        text: format!("cannot render the page: {error}"),
        exit: Exit::Disk as u8,
    })?)
}

/// A reader who left has seen enough.
fn print(bytes: &[u8]) -> Result<ExitCode, Failure> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure { text: format!("cannot write to stdout: {error}"), exit: Exit::Disk as u8 })
        }
        _ => Ok(Exit::Success.into()),
    }
}

/// What a person reads and what a script sees.
struct Failure {
    text: String,
    exit: u8,
}

macro_rules! failure {
    ($($error:ty => $exit:expr),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let exit: fn(&$error) -> u8 = $exit;
                Self { exit: exit(&error), text: error.to_string() }
            }
        }
    )*};
}

failure! {
    ConfigError => |_| Exit::Usage as u8,
    StartError => |error| error.exit() as u8,
    PkiError => |error| error.exit() as u8,
    RestoreError => |error| error.exit() as u8,
    RecoverError => |error| error.exit() as u8,
    RunError => |error| error.exit() as u8,
    DevError => DevError::exit,
}
