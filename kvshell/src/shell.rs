//! Runs lines: each step is parsed by the enum that kvctl uses and shown by the renderers that kvctl uses.
//!
//! The session is opened once and kept, so that commands after the first need no handshake. A line that names another
//! cluster (`get k -C prod`) gets a session of its own, which ends with it.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::{Child, Command as Process, ExitStatus, Stdio},
};

use clap::{CommandFactory as _, FromArgMatches as _};
use console::{
    Exit, Failure, Line, Out, Report, Session,
    command::Display,
    context::{Connection, Places},
    render::{Color, Screen},
    usage,
};

use crate::{driver::Driver, prompt::Prompt, script};

/// Everything that lasts from line to line.
pub(crate) struct Shell {
    driver: Driver,
    connection: Connection,
    display: Display,
    /// What a line without flags parses to: a line that differs has flags of its own.
    bare: Connection,
    session: Option<Session>,
    prompt: Option<Prompt>,
}

impl Shell {
    /// Connects nowhere yet.
    pub(crate) fn new(connection: Connection, display: Display) -> Result<Self, Failure> {
        let driver = Driver::start().map_err(|error| Failure::internal(format!("no runtime: {error}")))?;
        let bare = parse(&["version".to_owned()]).map_or_else(|_| connection.clone(), |line| line.connection);
        Ok(Self { driver, connection, display, bare, session: None, prompt: None })
    }

    /// What stands above the first prompt of a conversation.
    pub(crate) fn greet(&mut self) {
        if !self.display.quiet {
            say("kvshell: `help` lists the commands, Ctrl-D leaves");
        }
        match self.session() {
            Ok(session) => self.prompt = Some(Prompt::new(session.name(), session.settings().clone())),
            Err(failure) => drop(self.screen().show(&Err(failure))),
        }
    }

    /// The prompt, in at most a few hundredths of a second.
    pub(crate) fn prompt(&mut self) -> String {
        self.prompt.as_mut().map_or_else(|| "kv > ".to_owned(), Prompt::text)
    }

    /// Runs a line: the code of its first failing step, and whether to go on.
    pub(crate) fn line(&mut self, line: &str) -> (Exit, bool) {
        let mut first = Exit::Success;
        for step in script::steps(line) {
            let words = match shlex::split(&step.command) {
                Some(words) if !words.is_empty() => words,
                Some(_) => vec![String::new()],
                None => {
                    let failure = Failure::usage(format!("a quote is not closed: {}", step.command.trim()));
                    return (self.screen().show(&Err(failure)), true);
                }
            };
            if matches!(words[0].as_str(), "exit" | "quit") {
                return (first, false);
            }
            let exit = self.step(words, step.pipe.as_deref());
            if first == Exit::Success {
                first = exit;
            }
            if matches!(exit, Exit::Interrupted) {
                break;
            }
        }
        (first, true)
    }

    fn step(&mut self, mut words: Vec<String>, pipe: Option<&str>) -> Exit {
        if words[0] == "help" {
            // `help get` is `get --help`.
            words.remove(0);
            words.push("--help".to_owned());
        }
        let mut line = match parse(&words) {
            Ok(line) => line,
            Err(error) => return usage::answer(&error, &words),
        };
        self.inherit(&mut line.display);
        match pipe {
            None => {
                let screen = line.screen();
                let result = self.run(&mut line, &mut Out { screen, stream: &mut io::stdout() });
                let result = line.conclude(result);
                line.screen().show(&result)
            }
            Some(command) => self.piped(&mut line, command),
        }
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
        line.prepare()?;
        if let Some(result) = line.command.run_alone() {
            return result;
        }
        if line.connection != self.bare {
            let session = Session::open(&line.connection, &Places::of_process())?;
            let result = self.driver.wait(until_interrupted(line, &session, out));
            self.driver.wait(session.close());
            return result;
        }
        self.session()?;
        let session = self.session.as_ref().expect("it was opened in the line above");
        self.driver.wait(until_interrupted(line, session, out))
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
            None => Session::open(&self.connection, &Places::of_process())?,
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

/// The grammar of kvctl, without its name in front.
pub(crate) fn grammar() -> clap::Command {
    Line::command().no_binary_name(true).name("").bin_name("").disable_version_flag(true)
}

fn parse(words: &[String]) -> Result<Line, clap::Error> {
    Line::from_arg_matches(&grammar().try_get_matches_from(words)?)
}

/// Ctrl-C cancels the command and nothing else.
async fn until_interrupted(line: &Line, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
    tokio::select! {
        result = line.command.run(session, out) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted(line.command.writes())),
    }
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
