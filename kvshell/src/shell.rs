//! Runs lines: each step is parsed by the enum that kvctl uses and shown by the renderers that kvctl uses.
//!
//! The session is opened once and kept, so that commands after the first need no handshake. A line that names another
//! cluster (`get k -C prod`) gets a session of its own, which ends with it.
//!
//! A protected context is only read until the person says `\writable`. A script has nobody who sees a red prompt, so it
//! must give the name: `\writable NAME`, `--confirm NAME` of the shell or of a line.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::{Child, Command as Process, ExitStatus, Stdio},
};

use clap::CommandFactory as _;
use console::{
    Exit, Failure, Line, Out, Report, Session,
    command::Display,
    context::{Connection, Places, Sources},
    protect::{self, Asking},
    render::{Color, Screen},
    usage,
};

use crate::{
    driver::Driver,
    prompt::{Guard, Prompt},
    script,
};

/// The words that are the shell's own.
pub(crate) const OWN: [&str; 3] = ["\\writable", "\\readonly", "\\help"];

/// Everything that lasts from line to line.
pub(crate) struct Shell {
    driver: Driver,
    connection: Connection,
    display: Display,
    sources: Sources,
    places: Places,
    session: Option<Session>,
    prompt: Option<Prompt>,
    /// The name that was given at the start: changes go to this context and to no other.
    confirm: Option<String>,
    /// The protected context that may be changed.
    writable: Option<String>,
    /// Whether somebody sees the prompt.
    conversing: bool,
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
            writable: confirm.clone(),
            confirm,
            conversing,
        })
    }

    /// What stands above the first prompt of a conversation.
    pub(crate) fn greet(&mut self) {
        self.conversing = true;
        if !self.display.quiet {
            say("kvshell: `help` lists the commands, Ctrl-D leaves");
        }
        if let Err(failure) = self.draw_prompt() {
            self.screen().show(&Err(failure));
        }
    }

    /// The prompt, in at most a few hundredths of a second.
    pub(crate) fn prompt(&mut self) -> String {
        let Some(prompt) = &mut self.prompt else { return "kv > ".to_owned() };
        let Some(session) = self.session.as_ref().filter(|session| session.is_protected()) else {
            return prompt.text(Guard::None);
        };
        let color = self.display.color.decide(io::stdout().is_terminal());
        let writable = self.writable.as_deref() == Some(session.name());
        prompt.text(Guard::Protected { writable, color })
    }

    fn draw_prompt(&mut self) -> Result<(), Failure> {
        let session = self.session()?;
        let prompt = Prompt::new(session.name(), session.settings().clone());
        self.prompt = Some(prompt);
        Ok(())
    }

    /// Runs a line: the code of its first failing step, and whether to go on.
    pub(crate) fn line(&mut self, line: &str) -> (Exit, bool) {
        let mut first = Exit::Success;
        for step in script::steps(line) {
            if step.command.trim_start().starts_with('\\') {
                let exit = self.own(step.command.trim());
                first = if first == Exit::Success { exit } else { first };
                continue;
            }
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

    /// A word of the shell's own.
    fn own(&mut self, words: &str) -> Exit {
        let mut words = words.split_whitespace();
        let result = match (words.next().unwrap_or_default(), words.next(), words.next()) {
            ("\\writable", name, None) => self.make_writable(name),
            ("\\readonly", None, None) => {
                (self.confirm, self.writable) = (None, None);
                Ok(())
            }
            ("\\help", None, None) => {
                say(
                    "\\writable [NAME]  let a protected context be changed\n\\readonly         only read it again\n\
                     help             commands, which are kvctl's",
                );
                Ok(())
            }
            (word, ..) => Err(Failure::usage(format!("`{word}` is nothing that the shell does, or not so"))
                .hint(format!("there are {}", OWN.join(", ")))),
        };
        result.map_or_else(|failure| self.screen().show(&Err(failure)), |()| Exit::Success)
    }

    fn make_writable(&mut self, name: Option<&str>) -> Result<(), Failure> {
        let conversing = self.conversing;
        let session = self.session()?;
        let used = session.name().to_owned();
        let confirm = name.or_else(|| conversing.then_some(used.as_str()));
        protect::allow(&used, session.is_protected(), confirm, Asking::Shell(None))?;
        self.writable = Some(used);
        Ok(())
    }

    fn run(&mut self, line: &mut Line, out: &mut Out<'_>) -> Result<Report, Failure> {
        line.inherit(&self.connection, self.sources);
        line.prepare()?;
        if let Some(result) = line.run_alone(&self.places) {
            self.follow(&result, line);
            return result;
        }
        if line.connection != self.connection {
            let session = Session::open(&line.connection, &self.places)?;
            self.allow(line, line.confirm.as_deref(), &session)?;
            let result = self.driver.wait(until_interrupted(line, &session, out));
            self.driver.wait(session.close());
            return result;
        }
        self.session()?;
        let session = self.session.as_ref().expect("it was opened in the line above");
        self.allow(line, line.confirm.as_deref().or(self.confirm.as_deref()), session)?;
        self.driver.wait(until_interrupted(line, session, out))
    }

    fn allow(&self, line: &Line, confirm: Option<&str>, session: &Session) -> Result<(), Failure> {
        if !line.command.changes() {
            return Ok(());
        }
        let asking = Asking::Shell(self.writable.as_deref());
        protect::allow(session.name(), session.is_protected(), confirm, asking)
    }

    /// Goes over to the context that was selected, unless the shell was told at its start which one to use.
    fn follow(&mut self, result: &Result<Report, Failure>, line: &Line) {
        if result.is_err() || self.connection.context.is_some() || !line.command.selects_context() {
            return;
        }
        if let Some(session) = self.session.take() {
            self.driver.wait(session.close());
        }
        (self.prompt, self.writable, self.confirm) = (None, None, None);
        if self.conversing {
            // Where none is selected any more, the next command says so.
            let _ = self.draw_prompt();
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

/// The grammar of kvctl, without its name in front.
pub(crate) fn grammar() -> clap::Command {
    Line::command().no_binary_name(true).name("").bin_name("").disable_version_flag(true)
}

fn parse(words: &[String]) -> Result<Line, clap::Error> {
    Line::of_matches(&grammar().try_get_matches_from(words)?)
}

/// Ctrl-C cancels the command and nothing else.
async fn until_interrupted(line: &Line, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
    tokio::select! {
        result = line.command.run(session, out) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::interrupted(line.command.changes())),
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
