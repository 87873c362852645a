//! Compares and steps as people type them.

use protocol::{
    KeyRange, limits,
    operation::{Action, Compare, Operand, Relation},
};

/// Reads `rev(KEY)=7`, `value(KEY)!=blue`, `version(KEY)>1`, `exists(KEY)`, `absent(KEY)`. The key ends at the first `)`
/// behind which an operator or nothing comes; a value is everything behind the operator, with all its blanks.
pub(super) fn compare(text: &str) -> Result<Compare, String> {
    let usage = || {
        format!(
            "`{text}` is no compare: try rev(KEY)=7, version(KEY)>1, value(KEY)=TEXT, exists(KEY) or absent(KEY)"
        )
    };
    let (what, rest) = text.trim_start().split_once('(').ok_or_else(usage)?;
    let (key, relation, operand) = rest
        .match_indices(')')
        .find_map(|(at, _)| {
            let (key, rest) = rest.split_at_checked(at)?;
            let (relation, operand) = operator(rest.strip_prefix(')')?)?;
            Some((key.as_bytes().to_vec(), relation, operand))
        })
        .ok_or_else(usage)?;
    let number =
        || operand.trim().parse().map_err(|_| format!("`{}` is no revision or version", operand.trim()));
    let (relation, operand) = match (what, relation) {
        ("exists", None) => (Relation::Equal, Operand::Present),
        ("absent", None) => (Relation::NotEqual, Operand::Present),
        ("value", Some(relation)) => (relation, Operand::Value(operand.as_bytes().to_vec())),
        ("rev", Some(relation)) => (relation, Operand::Revision(number()?)),
        ("version", Some(relation)) => (relation, Operand::Version(number()?)),
        _ => return Err(usage()),
    };
    Ok(Compare { key, relation, operand })
}

/// The operator that `rest` begins with, and what follows; neither where nothing comes at all.
fn operator(rest: &str) -> Option<(Option<Relation>, &str)> {
    let begun = rest.trim_start();
    if begun.is_empty() {
        return Some((None, ""));
    }
    relations().into_iter().find_map(|(sign, relation)| Some((Some(relation), begun.strip_prefix(sign)?)))
}

/// The signs of relations.
pub(super) fn relations() -> [(&'static str, Relation); 4] {
    [("!=", Relation::NotEqual), ("=", Relation::Equal), ("<", Relation::Less), (">", Relation::Greater)]
}

/// Reads `set KEY VALUE`, `del KEY`, `get KEY`, `prefix PREFIX [N]`, `range FROM TO [N]`, quoted as in a shell.
pub(super) fn step(text: &str) -> Result<Action, String> {
    let words = shlex::split(text).ok_or_else(|| format!("`{text}` has a quote that does not end"))?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let bytes = |word: &str| word.as_bytes().to_vec();
    Ok(match *words.as_slice() {
        ["set" | "put", key, value] => Action::Set { key: bytes(key), value: bytes(value) },
        ["del", key] => Action::Delete { key: bytes(key) },
        ["get", key] => Action::Get { key: bytes(key) },
        ["prefix", prefix] => read(KeyRange::prefix(prefix.as_bytes()), None)?,
        ["prefix", prefix, most] => read(KeyRange::prefix(prefix.as_bytes()), Some(most))?,
        ["range", from, to] => read(range(from.as_bytes(), to.as_bytes()), None)?,
        ["range", from, to, most] => read(range(from.as_bytes(), to.as_bytes()), Some(most))?,
        _ => {
            return Err(format!(
                "`{text}` is no step: try `set KEY VALUE`, `del KEY`, `get KEY`, `prefix PREFIX [N]` or \
                 `range FROM TO [N]`"
            ));
        }
    })
}

/// From the first on, without the second; an empty second is the end.
pub(super) fn range(from: &[u8], to: &[u8]) -> KeyRange {
    KeyRange { from: from.to_vec(), to: Some(to.to_vec()).filter(|to| !to.is_empty()) }
}

fn read(range: KeyRange, most: Option<&str>) -> Result<Action, String> {
    let most = most.map(|most| most.parse().map_err(|_| format!("`{most}` is no number of keys")));
    Ok(Action::Range { range, limit: most.transpose()?.unwrap_or_else(most_rows) })
}

/// As many keys as a step reads at most.
pub(super) fn most_rows() -> u32 {
    u32::try_from(limits::TRANSACTION_ROWS).unwrap_or(u32::MAX)
}
