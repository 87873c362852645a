//! Runs lines: each step is parsed by the enum that kvctl uses and shown by the renderers that kvctl uses.
//!
//! The session is opened once and kept, so that commands after the first need no handshake. A line that names another
//! cluster (`get k -C prod`) gets a session of its own, which ends with it.
//!
//! A protected context is only read until the person says `\writable`. A script has nobody who sees a red prompt, so it
//! must give the name: `\writable NAME`, `--confirm NAME` of the shell or of a line.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::{Child, Command as Process, ExitStatus, Stdio},
    sync::Arc,
    time::Instant,
};

use clap::CommandFactory as _;
use console::{
    Exit, Failure, Line, Out, Report, Session,
    command::Display,
    context::{Connection, Places, Sources},
    protect::{self, Asking},
    render::{Color, Screen},
    report::{Body, Document},
    script::{self, Step},
    text, usage,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    driver::Driver,
    live::Live,
    prompt::{Guard, Prompt},
};

mod own;
mod transaction;

pub(crate) use self::own::{OWN, words};

/// Everything that lasts from line to line.
pub(crate) struct Shell {
    driver: Driver,
    connection: Connection,
    display: Display,
    sources: Sources,
    places: Places,
    session: Option<Session>,
    prompt: Option<Prompt>,
    live: Option<Arc<Live>>,
    /// The name that was given at the start: changes go to this context and to no other.
    confirm: Option<String>,
    /// The file of the protected context that may be changed: another of the same name is another.
    writable: Option<PathBuf>,
    /// How fresh reads are that do not say it themselves, where that is not the usual.
    level: Option<String>,
    /// Whether the time of each command is told.
    timing: bool,
    /// What `begin` began.
    open: Option<transaction::Open>,
    /// Whether somebody sees the prompt.
    conversing: bool,
    /// Whether its lines come from standard input, which is then no command's.
    on_stdin: bool,
}

impl Shell {
    /// Connects nowhere yet.
    pub(crate) fn new(
        connection: Connection,
        display: Display,
        sources: Sources,
        confirm: Option<String>,
    ) -> Result<Self, Failure> {
        let driver = Driver::start().map_err(|error| Failure::internal(format!("no runtime: {error}")))?;
        let (places, conversing) = (Places::of_process(), false);
        Ok(Self {
            driver,
            connection,
            display,
            sources,
            places,
            session: None,
            prompt: None,
            live: None,
            confirm,
            writable: None,
            level: None,
            timing: false,
            open: None,
            conversing,
            on_stdin: false,
        })
    }

    /// Standard input is where the lines come from, and held by whoever reads them.
    pub(crate) fn is_on_stdin(&mut self) {
        self.on_stdin = true;
    }

    /// What stands above the first prompt of a conversation.
    pub(crate) fn greet(&mut self) {
        self.conversing = true;
        // From now on Ctrl-C ends the command that runs, also a local one, and never the shell.
        let _ = self.driver.wait(async { signal(SignalKind::interrupt()) });
        if !self.display.quiet {
            say("kvshell: `help` lists the commands, Ctrl-D leaves");
        }
        if let Err(failure) = self.draw_prompt() {
            self.screen().show(&Err(failure));
        }
    }

    /// The prompt, in at most a few hundredths of a second.
    pub(crate) fn prompt(&mut self) -> String {
        let color = self.color();
        let guard = match self.session.as_ref().filter(|session| session.is_protected()) {
            Some(session) => {
                let confirmed = self.confirm.as_deref() == Some(session.name());
                Guard::Protected { writable: confirmed || self.is_writable(session), color }
            }
            None => Guard::None,
        };
        let within = if self.open.is_some() { "txn " } else { "" };
        let Some(prompt) = &mut self.prompt else { return format!("kv {within}> ") };
        prompt.text(guard, within)
    }

    /// The context that lines are typed for, while one is known.
    pub(crate) fn context(&self) -> Option<&str> {
        self.session.as_ref().map(Session::name)
    }

    /// Names that only the cluster knows; what a command may have changed is asked for anew.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.as_ref().inspect(|live| live.doubt()).cloned()
    }

    /// Whether what a person sees may be coloured.
    pub(crate) fn color(&self) -> bool {
        self.display.color.decide(io::stdout().is_terminal())
    }

    /// Whether this is the file that may be changed, and still what it was: it may have been replaced by the context of
    /// another cluster since this shell opened it.
    fn is_writable(&self, session: &Session) -> bool {
        let same = self.session.as_ref().is_some_and(|own| own.is_same(session));
        same && self.writable.is_some() && self.writable.as_deref() == session.path()
    }

    fn draw_prompt(&mut self) -> Result<(), Failure> {
        let session = self.session()?;
        let prompt = Prompt::new(session.name(), session.settings().clone());
        let live = Live::new(session.settings().clone());
        (self.prompt, self.live) = (Some(prompt), Some(Arc::new(live)));
        Ok(())
    }

    /// Runs a line: the code of its first failing step, and whether to go on.
    pub(crate) fn line(&mut self, line: &str) -> (Exit, bool) {
        if let Some(command) = line.trim_start().strip_prefix('!') {
            // Whatever it holds is for the local shell.
            return (self.local(command), true);
        }
        let mut first = Exit::Success;
        for step in script::steps(line) {
            let Some(exit) = self.step(&step) else { return (first, false) };
            if first == Exit::Success {
                first = exit;
            }
            if matches!(exit, Exit::Interrupted | Exit::Pipe) {
                break;
            }
        }
        (first, true)
    }

    /// What an end of all lines comes to: a transaction that is still open was not done.
    pub(crate) fn end(&mut self) -> Exit {
        self.abandoned().map_or(Exit::Success, |failure| self.screen().show(&Err(failure)))
    }

    /// Runs one step; `None` for one that leaves.
    fn step(&mut self, step: &Step) -> Option<Exit> {
        let (command, pipe) = (step.command.trim(), step.pipe.as_deref());
        if matches!(command, "exit" | "quit") {
            return None;
        }
        let exit = if command.starts_with('\\') {
            self.own(command, pipe)
        } else if let Some(exit) = self.transact(command, pipe) {
            exit
        } else {
            match shlex::split(command) {
                Some(words) => self.command(words, pipe),
                None => self.screen().show(&Err(unclosed(command))),
            }
        };
        if exit != Exit::Success {
            // Whatever fails while a transaction is open was meant for it.
            self.spoil();
        }
        Some(exit)
    }

    fn command(&mut self, mut words: Vec<String>, pipe: Option<&str>) -> Exit {
        match words.first_mut() {
            None => words.push(String::new()),
            Some(word) if word == "help" => {
                // `help get` is `get --help`.
                words.remove(0);
                words.push("--help".to_owned());
            }
            Some(_) => {}
        }
        let mut line = match self.parse(&words) {
            Ok(line) => line,
            Err(error) => return usage::answer(&error, &words),
        };
        self.inherit(&mut line.display);
        let began = Instant::now();
        let exit = match pipe {
            None => {
                let screen = line.screen();
                let result = self.run(&mut line, &mut Out { screen, stream: &mut io::stdout() });
                let result = line.conclude(result);
                line.screen().show(&result)
            }
            Some(command) => self.piped(&mut line, command),
        };
        if self.timing {
            // Where stderr is gone nobody misses it.
            let _ = writeln!(io::stderr(), "{}", text::millis(began.elapsed()));
        }
        exit
    }

    /// Flags of the shell hold for lines that do not say otherwise.
    fn inherit(&self, display: &mut Display) {
        display.output = display.output.or(self.display.output);
        display.quiet |= self.display.quiet;
        display.verbose |= self.display.verbose;
        if display.color == Color::Auto {
            display.color = self.display.color;
        }
    }

    fn run(&mut self, line: &mut Line, out: &mut Out<'_>) -> Result<Report, Failure> {
        line.inherit(&self.connection, self.sources);
        if self.on_stdin && line.command.reads_stdin() {
            return Err(Failure::usage("stdin is where the commands of this shell come from")
                .hint("name a file, or give the shell its commands with -f or -x"));
        }
        if line.command.guards() {
            return Err(Failure::usage("this shell runs no command under a lock")
                .hint("`kvctl lock` and `kvctl elect` do, each in a process of its own"));
        }
        line.prepare()?;
        if let Some(result) = line.run_alone(&self.places) {
            if line.command.touches_contexts() {
                self.follow();
            }
            return result;
        }
        if line.connection != self.connection {
            let session = Session::open(&line.connection, &self.places)?;
            self.allow(line, line.confirmation(session.name()), &session)?;
            let result = self.driver.wait(until_interrupted(line, &session, out));
            self.driver.wait(session.close());
            return result;
        }
        self.session()?;
        let session = self.session.as_ref().expect("it was opened in the line above");
        let confirm = line.confirmation(session.name()).or(self.confirm.as_deref());
        self.allow(line, confirm, session)?;
        self.driver.wait(until_interrupted(line, session, out))
    }

    fn allow(&self, line: &Line, confirm: Option<&str>, session: &Session) -> Result<(), Failure> {
        if !line.command.changes() {
            return Ok(());
        }
        let asking = Asking::Shell(self.is_writable(session));
        protect::allow(session.name(), session.is_protected(), confirm, asking)
    }

    /// Goes over to what is meant now, where that is something else: another context was selected, or this one was
    /// replaced or removed. A shell that was told which one to use stays with that.
    fn follow(&mut self) {
        if self.session.as_ref().is_none_or(|session| session.is_current(&self.connection, &self.places)) {
            return;
        }
        self.leave();
        if self.conversing {
            // Where none is selected any more, the next command says so.
            let _ = self.draw_prompt();
        }
    }

    /// Ends the session. Nothing that was allowed or begun there holds for the next.
    fn leave(&mut self) {
        if let Some(session) = self.session.take() {
            self.driver.wait(session.close());
        }
        (self.prompt, self.live, self.open) = (None, None, None);
        (self.writable, self.confirm) = (None, None);
    }

    fn parse(&self, words: &[String]) -> Result<Line, clap::Error> {
        Line::of_matches(&grammar(self.level.as_deref()).try_get_matches_from(words)?)
    }

    /// Runs a local command on the terminal.
    fn local(&self, command: &str) -> Exit {
        match Process::new("sh").arg("-c").arg(command).status() {
            Ok(status) => local(status),
            Err(error) => self.screen().show(&Err(Failure::stream("cannot run sh", &error))),
        }
    }

    /// Runs the local command with the output of ours as its input: rows as they come, all else at the end.
    fn piped(&mut self, line: &mut Line, command: &str) -> Exit {
        let child = Process::new("sh").arg("-c").arg(command).stdin(Stdio::piped()).spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return self.screen().show(&Err(Failure::stream("cannot run sh", &error))),
        };
        let exit = self.feed(&mut child, line);
        match child.wait() {
            Ok(status) if matches!(exit, Exit::Success | Exit::Pipe) => local(status),
            Ok(_) => exit,
            Err(error) => self.screen().show(&Err(Failure::stream("cannot wait for sh", &error))),
        }
    }

    /// Data goes into the child, failures to our stderr. A child that reads no more is no failure.
    fn feed(&mut self, child: &mut Child, line: &mut Line) -> Exit {
        let screen = Screen { terminal: false, ..line.screen() };
        let mut input = child.stdin.take().expect("stdin was asked to be piped");
        let result = self.run(line, &mut Out { screen, stream: &mut input });
        let result = line.conclude(result);
        screen.show_on(&result, &mut input, &mut io::stderr().lock())
    }

    fn session(&mut self) -> Result<&Session, Failure> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.connection, &self.places)?,
        };
        Ok(self.session.insert(session))
    }

    fn screen(&self) -> Screen {
        Screen::of_process(self.display.output, self.display.color, self.display.quiet)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.driver.wait(session.close());
        }
    }
}

/// The grammar of kvctl, without its name in front, and with this level for reads that do not say one.
pub(crate) fn grammar(level: Option<&str>) -> clap::Command {
    let grammar = Line::command().no_binary_name(true).name("").bin_name("").disable_version_flag(true);
    let Some(level) = level else { return grammar };
    let reads = |command: &&clap::Command| command.get_arguments().any(|flag| flag.get_id() == "consistency");
    let names: Vec<String> =
        grammar.get_subcommands().filter(reads).map(|read| read.get_name().to_owned()).collect();
    names.into_iter().fold(grammar, |grammar, name| {
        grammar.mut_subcommand(name, |read| {
            read.mut_arg("consistency", |flag| flag.default_value(level.to_owned()))
        })
    })
}

fn unclosed(command: &str) -> Failure {
    Failure::usage(format!("a quote is not closed: {command}"))
}

/// Ctrl-C cancels the command and nothing else.
async fn until_interrupted(line: &Line, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
    tokio::select! {
        result = line.command.run(session, out) => result,
        _ = tokio::signal::ctrl_c() => cancelled(line),
    }
}

fn cancelled(line: &Line) -> Result<Report, Failure> {
    if line.command.is_endless() {
        return Ok(Report::new(Document::bare(), Body::Hidden).exit(Exit::Interrupted));
    }
    Err(Failure::interrupted(line.command.changes()))
}

fn local(status: ExitStatus) -> Exit {
    match status.code() {
        Some(0) => Exit::Success,
        Some(code) => u8::try_from(code).map_or(Exit::No, Exit::Chosen),
        None => Exit::Interrupted,
    }
}

/// A line for a person; without one there is nobody to tell.
fn say(text: &str) {
    if io::stderr().is_terminal() {
        let _ = writeln!(io::stderr(), "{text}");
    }
}
