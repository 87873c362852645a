//! The `kvctl` program: one command, its report, its exit code.
//!
//! Nothing is started before it is needed: a line that does not parse and a command that asks nobody cost no runtime,
//! no certificates and no socket.

use std::{ffi::OsString, io::Write as _, process::ExitCode, time::Instant};

use console::{
    Failure, Line, Out, Report, Session,
    context::Places,
    offer,
    protect::{self, Asking},
    usage,
};

fn main() -> ExitCode {
    if offer::answer() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let mut line = match Line::parse_words(&words) {
        Ok(line) => line,
        Err(error) => return usage::answer(&error, words.get(1..).unwrap_or_default()).into(),
    };
    let result = run(&mut line);
    let result = line.conclude(result);
    line.screen().show(&result).into()
}

/// Signals are left as they are: Ctrl-C ends the process, whose parent then sees 130.
fn run(line: &mut Line) -> Result<Report, Failure> {
    line.prepare()?;
    let places = Places::of_process();
    if let Some(result) = line.run_alone(&places) {
        return result;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("no runtime: {error}")))?;
    let session = Session::open(&line.connection, &places)?;
    if line.command.changes() {
        let person = Asking::Person(&mut protect::ask);
        protect::allow(session.name(), session.is_protected(), line.confirmation(session.name()), person)?;
    }
    if !line.command.streams() {
        return runtime.block_on(command(line, session));
    }
    // Standard streams may be slow, and connections must not die of it: another thread drives them.
    let (handle, (stop, stopped)) = (runtime.handle().clone(), tokio::sync::oneshot::channel::<()>());
    let driver = std::thread::spawn(move || runtime.block_on(stopped));
    let result = handle.block_on(command(line, session));
    drop(stop);
    // It ends by itself; how it ended matters to nobody any more.
    let _ = driver.join();
    result
}

async fn command(line: &Line, session: Session) -> Result<Report, Failure> {
    let began = Instant::now();
    let mut stdout = std::io::stdout();
    let result = line.command.run(&session, &mut Out { screen: line.screen(), stream: &mut stdout }).await;
    if line.display.verbose {
        tell(&session, began);
    }
    session.close().await;
    result
}

fn tell(session: &Session, began: Instant) {
    let name = if session.name().is_empty() { "-" } else { session.name() };
    let endpoints = session.settings().endpoints.join(",");
    let took = console::text::millis(began.elapsed());
    // A word beside the data: where stderr is gone nobody misses it.
    let _ = writeln!(std::io::stderr(), "context {name}   endpoints {endpoints}   {took}");
}
