//! Names of contexts in completion scripts. The scripts are static and know only words of the grammar; names are asked of
//! the program itself when TAB is pressed, which reads a folder and no cluster.

use super::Shell;

/// The id in the grammar of every argument that is the name of a context.
pub const CONTEXT_NAME: &str = "context_name";

const BASH: &str = r#"
_kvctl() {
    local word="$2" before="$3" at place=
    case "$before" in
        -C|--context|--confirm) place=here ;;
        *)
            for ((at = 1; at + 1 < COMP_CWORD; at++)); do
                if [[ "${COMP_WORDS[at]}" == context && "${COMP_WORDS[at+1]}" =~ ^(use|show|export|rm)$ ]]; then
                    [[ "${COMP_WORDS[at+1]}" == rm || "$COMP_CWORD" -eq $((at + 2)) ]] && place=here
                    break
                fi
            done ;;
    esac
    if [[ -z "$place" || "$word" == -* ]]; then
        _kvctl_words "$@"
        return
    fi
    COMPREPLY=( $(compgen -W "$("${COMP_WORDS[0]}" context ls -o plain 2>/dev/null | cut -f2)" -- "$word") )
}
"#;

const ZSH: &str = r#"
_kvctl_contexts() {
    local -a names
    names=(${(f)"$(kvctl context ls -o plain 2>/dev/null | cut -f2)"})
    _alternative 'contexts:context:compadd -a names' 'files:file:_files -g "*.kvctx"'
}
"#;

const FISH: &str = "(kvctl context ls -o plain 2>/dev/null | cut -f2)";

/// The script with names of contexts wherever one is wanted.
pub(super) fn add(shell: Shell, script: &str) -> String {
    match shell {
        // The function of the grammar under another name, and ours before it.
        Shell::Bash => {
            let script = script.replacen("_kvctl() {", "_kvctl_words() {", 1);
            match script.rfind("\nif [[ \"${BASH_VERSINFO") {
                Some(end) => {
                    let (words, rest) = script.split_at(end);
                    [words, BASH, rest].concat()
                }
                None => script,
            }
        }
        Shell::Zsh => {
            let name = format!(":{CONTEXT_NAME} -- ");
            let wanted = |line: &str| {
                ["'-C+[", "'--context=[", "'--confirm=["].iter().any(|flag| line.starts_with(flag))
                    || line.contains(&name)
            };
            let line = |line: &str| {
                if wanted(line) { line.replace(":_default'", ":_kvctl_contexts'") } else { line.to_owned() }
            };
            let script: Vec<String> = script.lines().map(line).collect();
            (script.join("\n") + "\n").replacen("\n_kvctl() {", &[ZSH, "\n_kvctl() {"].concat(), 1)
        }
        Shell::Fish => {
            let wanted = |line: &str| [" -l context ", " -l confirm "].iter().any(|flag| line.contains(flag));
            let line = |line: &str| {
                if wanted(line) && line.ends_with(" -r") {
                    format!("{line} -a \"{FISH}\"")
                } else {
                    line.to_owned()
                }
            };
            let script: Vec<String> = script.lines().map(line).collect();
            let commands =
                "__fish_kvctl_using_subcommand context; and __fish_seen_subcommand_from use show export rm";
            script.join("\n") + &format!("\ncomplete -c kvctl -n \"{commands}\" -f -a \"{FISH}\"\n")
        }
    }
}
