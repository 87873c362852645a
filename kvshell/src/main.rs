//! The `kvshell` program: many commands, one after the other, in kvctl's language.
//!
//! | module | what |
//! | --- | --- |
//! | `shell` | parse with the same enum, run, show |
//! | `driver` | keeps connections alive between commands |
//! | `prompt` | context and leader, without waiting for a dead cluster |
//! | `complete` | TAB, hints, colour |
//! | `live` | keys and nodes for those, without ever waiting |
//! | `history` | lines to call back, and a file that only its owner reads |
//!
//! A protected context is only read until `\writable` asks for more.
//!
//! At a terminal it goes on whatever happens. Everywhere else (`-x`, `-f`, a pipe) there is no banner and it ends
//! with the code of the first command that failed.

mod complete;
mod driver;
mod history;
mod live;
mod prompt;
mod shell;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use console::{
    Exit, Failure,
    command::Display,
    context::{Connection, Places, Sources},
    usage,
};
use rustyline::{CompletionType, Config, Editor, error::ReadlineError};

use crate::{complete::Completer, history::Lines, shell::Shell};

/// Longest line of a script: room for the largest value, quoted.
const LINE_BYTES: u64 = 2 * 1024 * 1024;

const EXAMPLES: &str = "Examples:\n  kvshell\n  kvshell -x 'set a 1; get a'\n  kvshell -f commands.kv\n  \
                        echo status | kvshell";

/// kvctl's commands, interactively or from a script.
#[derive(Parser, Debug)]
#[command(
    name = "kvshell",
    version,
    after_help = EXAMPLES
)]
struct Options {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    display: Display,
    /// Change a protected context, by its name
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    confirm: Option<String>,
    /// Run these commands, separated by `;`, and end
    #[arg(short = 'x', long = "execute", value_name = "COMMANDS", conflicts_with = "file")]
    execute: Option<String>,
    /// Run the commands of a file, one a line, and end
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the manual page, and end
    #[arg(long)]
    man: bool,
    /// Print the completion script of a shell for this program's flags, and end
    #[arg(long, value_name = "SHELL")]
    completion: Option<clap_complete::Shell>,
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let matches = Options::command().try_get_matches_from(&words);
    let parsed =
        matches.and_then(|matches| Ok((Options::from_arg_matches(&matches)?, Sources::of(&matches))));
    let (options, sources) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage::answer(&error, &words).into(),
    };
    if options.man {
        return show_page().into();
    }
    if let Some(shell) = options.completion {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Options::command(), "kvshell", &mut script);
        return print(&script).into();
    }
    let screen = console::render::Screen::of_process(
        options.display.output,
        options.display.color,
        options.display.quiet,
    );
    match run(options, sources) {
        Ok(exit) => exit.into(),
        Err(failure) => screen.show(&Err(failure)).into(),
    }
}

/// The page of the program, made from the grammar, with the words of the shell's own.
fn show_page() -> Exit {
    let man = clap_mangen::Man::new(Options::command().after_help(None::<&str>));
    let mut roff = Vec::new();
    let made = man.source(concat!("kvshell ", env!("CARGO_PKG_VERSION"))).render(&mut roff);
    // In roff a backslash begins a command, and a dash breaks words.
    let escaped = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let words =
        shell::words().map(|(form, does)| format!(".TP\n\\fB{}\\fR\n{}\n", escaped(&form), escaped(&does)));
    let examples = EXAMPLES.lines().skip(1).map(|line| escaped(line.trim()) + "\n");
    roff.extend(b".SH \"WORDS OF THE SHELL\"\nBeside the commands of \\fBkvctl\\fR(1):\n");
    roff.extend(words.collect::<String>().bytes());
    roff.extend(b".SH EXAMPLES\n.nf\n");
    roff.extend(examples.collect::<String>().bytes());
    roff.extend(b".fi\n");
    match made {
        Ok(()) => print(&roff),
        Err(error) => Failure::internal(format!("the page is not rendered: {error}")).exit,
    }
}

fn print(bytes: &[u8]) -> Exit {
    match io::stdout().lock().write_all(bytes) {
        Ok(()) => Exit::Success,
        Err(error) => Failure::stream("cannot write to stdout", &error).exit,
    }
}

fn run(options: Options, sources: Sources) -> Result<Exit, Failure> {
    let interactive = options.execute.is_none() && options.file.is_none() && io::stdin().is_terminal();
    let mut shell = Shell::new(options.connection, options.display, sources, options.confirm)?;
    if let Some(text) = &options.execute {
        return batch(&mut shell, text.as_bytes(), Path::new("-x"));
    }
    match &options.file {
        Some(path) if path != Path::new("-") => {
            let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
            batch(&mut shell, BufReader::new(file), path)
        }
        None if interactive => converse(&mut shell),
        _ => {
            shell.is_on_stdin();
            batch(&mut shell, io::stdin().lock(), Path::new("-"))
        }
    }
}

/// Runs every line and ends with the first failure's code. Ctrl-C and a closed pipe end it at once.
fn batch(shell: &mut Shell, mut lines: impl BufRead, from: &Path) -> Result<Exit, Failure> {
    let mut first = Exit::Success;
    while let Some(line) = next_line(&mut lines, from)? {
        let (exit, more) = shell.line(&line);
        if first == Exit::Success {
            first = exit;
        }
        if !more || matches!(exit, Exit::Interrupted | Exit::Pipe) {
            break;
        }
    }
    let end = shell.end();
    Ok(if first == Exit::Success { end } else { first })
}

fn next_line(lines: &mut impl BufRead, from: &Path) -> Result<Option<String>, Failure> {
    let mut line = String::new();
    let read = lines.take(LINE_BYTES).read_line(&mut line);
    let read = read.map_err(|error| Failure::file("read", from, &error))?;
    if read as u64 >= LINE_BYTES {
        return Err(Failure::usage(format!(
            "a line of {} is longer than {LINE_BYTES} bytes",
            from.display()
        )));
    }
    Ok((read > 0).then_some(line))
}

/// Reads and runs until Ctrl-D, `exit` or a terminal that went away.
fn converse(shell: &mut Shell) -> Result<Exit, Failure> {
    let broken = |error: ReadlineError| Failure::internal(format!("the terminal cannot be used: {error}"));
    let config = Config::builder().auto_add_history(true).completion_type(CompletionType::List);
    let config = config.completion_show_all_if_ambiguous(true);
    // A local command may leave its line open: the prompt must not be drawn over it.
    let config = config.check_cursor_position(true).build();
    let mut editor: Editor<Completer, Lines> = Editor::with_history(config, Lines::new()).map_err(broken)?;
    editor.set_helper(Some(Completer::new(Places::of_process(), shell.color())));
    let history = history::prepare();
    if let Some(path) = &history {
        // A history that cannot be read is an empty one.
        let _ = editor.load_history(path);
    }
    shell.greet();
    loop {
        if let Some(completer) = editor.helper_mut() {
            completer.follow(shell.live());
        }
        editor.history_mut().of(shell.context());
        match editor.readline(&shell.prompt()) {
            Ok(line) => {
                if let Some(path) = &history {
                    let _ = editor.append_history(path);
                }
                if !shell.line(&line).1 {
                    return Ok(Exit::Success);
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(_) => return Ok(Exit::Success),
        }
    }
}
