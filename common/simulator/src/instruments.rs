//! The marks and mutants of the production crates under one roof, by the names that people type: `raft:Name`,
//! `kvd:Name`.

/// One mark or mutant.
#[derive(Clone, Copy, Debug)]
pub struct Instrument {
    /// Its crate.
    pub of: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it shows, or which bug it is.
    pub about: &'static str,
}

impl Instrument {
    /// `crate:Name`.
    pub fn full_name(&self) -> String {
        format!("{}:{}", self.of, self.name)
    }
}

/// All marks, and how often this process came by each.
pub fn marks() -> Vec<(Instrument, u64)> {
    use kvd::instruments as kvd;
    use raft::instruments as raft;
    let raft =
        raft::Mark::ALL.iter().map(|(mark, name, about)| (("raft", *name, *about), raft::count(*mark)));
    let kvd = kvd::Mark::ALL.iter().map(|(mark, name, about)| (("kvd", *name, *about), kvd::count(*mark)));
    raft.chain(kvd).map(|((of, name, about), count)| (Instrument { of, name, about }, count)).collect()
}

/// All mutants.
pub fn mutants() -> Vec<Instrument> {
    let raft = raft::instruments::Mutant::ALL.iter().map(|(_, name, about)| ("raft", *name, *about));
    let kvd = kvd::instruments::Mutant::ALL.iter().map(|(_, name, about)| ("kvd", *name, *about));
    raft.chain(kvd).map(|(of, name, about)| Instrument { of, name, about }).collect()
}

/// Switches the mutant of this name on for the rest of the process; false when there is none.
#[cfg(feature = "mutants")]
pub fn switch_on(full_name: &str) -> bool {
    let Some((of, name)) = full_name.split_once(':') else { return false };
    let raft = raft::instruments::Mutant::ALL.iter().find(|(_, own, _)| of == "raft" && *own == name);
    let kvd = kvd::instruments::Mutant::ALL.iter().find(|(_, own, _)| of == "kvd" && *own == name);
    if let Some((mutant, ..)) = raft {
        raft::instruments::switch_on(*mutant);
    }
    if let Some((mutant, ..)) = kvd {
        kvd::instruments::switch_on(*mutant);
    }
    raft.is_some() || kvd.is_some()
}

/// Without the feature there are no mutants.
#[cfg(not(feature = "mutants"))]
pub fn switch_on(_full_name: &str) -> bool {
    false
}
