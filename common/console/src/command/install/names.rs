//! Names in completion scripts: contexts, keys, nodes. The scripts are static and know only words of the grammar; names are
//! asked of the program itself when TAB is pressed, with the line in a variable, which answers in bounded time
//! ([`offer::answer`](crate::offer::answer)). Where it has nothing to say, the words of the grammar are offered.

use super::Shell;

/// The id in the grammar of every argument that is the name of a context.
pub const CONTEXT_NAME: &str = "context_name";

/// bash breaks words at colons and equals signs as well: of a name only what follows the last of these is replaced. Inside
/// an open quote names are inserted as they are, so one that would end the quote or be expanded in it is left out there.
const BASH: &str = r#"
_kvctl() {
    local word="$2" line="${COMP_LINE:0:COMP_POINT}" before name
    COMPREPLY=()
    if [[ "$word" != -* ]]; then
        before="${line##*[[:space:]]}"
        before="${before%"$word"}"
        [[ "$word" == [\'\"]* ]] && before=
        while IFS= read -r name; do
            [[ "$word" == [\'\"]* && "$name" == *[\'\"\$\`\\!]* ]] && continue
            [[ "$name" == */ ]] && compopt -o nospace 2>/dev/null
            [[ "$word" == [\'\"]* ]] || printf -v name %q "$name"
            COMPREPLY+=("${name#"$before"}")
        done < <(_KVCTL_OFFER="$line" "${COMP_WORDS[0]}" 2>/dev/null)
    fi
    [[ ${#COMPREPLY[@]} -gt 0 ]] || _kvctl_words "$@"
}
"#;

const ZSH: &str = r#"
_kvctl_names() {
    local -a names folders
    names=(${(f)"$(_KVCTL_OFFER="${LBUFFER##*[;|&]}" kvctl 2>/dev/null)"})
    (( $#names )) || { _default; return }
    folders=(${(M)names:#*/})
    names=(${names:#*/})
    (( $#names )) && compadd -a names
    (( $#folders )) && compadd -S '' -a folders
}
"#;

const FISH: &str = r"
function __kvctl_names
    env _KVCTL_OFFER=(commandline -cp | string collect) kvctl 2>/dev/null
end
function __kvctl_has_names
    set -g __kvctl_found (__kvctl_names)
    test (count $__kvctl_found) -gt 0
end
complete -c kvctl -n __kvctl_has_names -f -a '$__kvctl_found'
";

/// Flags whose values are names.
const FLAGS: [&str; 5] = [" -l context ", " -l confirm ", " -l prefix ", " -l range ", " -l after "];

/// The script with names wherever some are wanted.
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
        // Whatever the grammar has no words for may be a name.
        Shell::Zsh => script.replace(":_default'", ":_kvctl_names'").replacen(
            "\n_kvctl() {",
            &[ZSH, "\n_kvctl() {"].concat(),
            1,
        ),
        Shell::Fish => {
            let wanted = |line: &str| FLAGS.iter().any(|flag| line.contains(flag)) && line.ends_with(" -r");
            let line = |line: &str| {
                if wanted(line) { format!("{line} -f -a \"(__kvctl_names)\"") } else { line.to_owned() }
            };
            let script: Vec<String> = script.lines().map(line).collect();
            script.join("\n") + FISH
        }
    }
}
