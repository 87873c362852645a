//! Two lists of members made into what happened between them.

use protocol::{Member, Part};

/// Who came, who went, who moved and whose part is another one; nothing where that is all the same.
pub(crate) fn change(before: &[Member], after: &[Member]) -> Option<String> {
    let known = |list: &[Member], id| list.iter().find(|member| member.id == id).cloned();
    let mut words = Vec::new();
    for member in after {
        match known(before, member.id) {
            None => words.push(format!("{} is {} now", member.name, part(member.part))),
            Some(was) if was.part != member.part => {
                words.push(format!(
                    "{} is {} now, and was {}",
                    member.name,
                    part(member.part),
                    part(was.part)
                ));
            }
            Some(was) if was.address != member.address => {
                words.push(format!("{} moved to {}", member.name, member.address));
            }
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|member| known(after, member.id).is_none());
    words.extend(gone.map(|member| format!("{} is no member any more", member.name)));
    (!words.is_empty()).then(|| words.join("; "))
}

fn part(part: Part) -> &'static str {
    match part {
        Part::Voter => "a voter",
        Part::Learner => "a learner",
        Part::Outgoing => "a voter on its way out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, part: Part) -> Member {
        Member { id, name: format!("n{id}"), address: format!("h{id}:1"), part }
    }

    #[test]
    fn what_is_different_is_told_and_nothing_else() {
        let before = [member(1, Part::Voter), member(2, Part::Learner), member(3, Part::Outgoing)];
        assert_eq!(change(&before, &before), None);
        let moved = Member { address: "other:1".into(), ..member(1, Part::Voter) };
        let after = [moved, member(2, Part::Voter), member(4, Part::Learner)];
        let told = "n1 moved to other:1; n2 is a voter now, and was a learner; n4 is a learner now; n3 is no member any more";
        assert_eq!(change(&before, &after).as_deref(), Some(told));
    }
}
