//! For the simulator: which branches a run went through, and bugs that can be switched on to see them found.
//!
//! A *mark* stands at every refusal and every way of recovery; a run of many seeds in which one stays at zero has not
//! tested it, and fails. A *mutant* is a bug, one for each kind that Raft implementations are known to have had; one
//! that survives the simulator says that the simulator is blind there. Both are names here, and calls where they
//! belong. In an ordinary build [`mark`] does nothing and [`mutant`] is `false`, so the compiler removes them: marks
//! exist with the feature `simulated`, mutants with the feature `mutants`.
//!
//! Counts and switch are those of the process: one simulated cluster a process.

/// Makes the instruments of a crate: `Mark`, `Mutant`, and the four functions over them.
#[macro_export]
macro_rules! instruments {
    (
        marks { $($mark:ident: $shows:literal,)* }
        mutants { $($mutant:ident: $bug:literal,)* }
    ) => {
        /// A branch that the simulator must see taken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark { $(#[doc = $shows] $mark,)* }

        /// A bug that can be switched on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant { $(#[doc = $bug] $mutant,)* }

        impl Mark {
            /// All of them, with what each shows.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$mark, stringify!($mark), $shows)),*];
        }

        impl Mutant {
            /// All of them, with the bug that each is.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$mutant, stringify!($mutant), $bug)),*];
        }

        #[cfg(feature = "simulated")]
        static COUNTS: [core::sync::atomic::AtomicU64; Mark::ALL.len()] =
            [const { core::sync::atomic::AtomicU64::new(0) }; Mark::ALL.len()];

        /// One more than the number of the mutant that is on; zero for none.
        #[cfg(feature = "mutants")]
        static ON: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

        /// The run came by here.
        #[inline]
        pub fn mark(mark: Mark) {
            #[cfg(feature = "simulated")]
            COUNTS[mark as usize].fetch_add(1, core::sync::atomic::Ordering::Relaxed);
            #[cfg(not(feature = "simulated"))]
            let _ = mark;
        }

        /// How often the process came by there.
        #[cfg(feature = "simulated")]
        pub fn count(mark: Mark) -> u64 {
            COUNTS[mark as usize].load(core::sync::atomic::Ordering::Relaxed)
        }

        /// Whether this bug is on.
        #[inline]
        pub fn mutant(mutant: Mutant) -> bool {
            #[cfg(feature = "mutants")]
            return ON.load(core::sync::atomic::Ordering::Relaxed) == mutant as usize + 1;
            #[cfg(not(feature = "mutants"))]
            {
                let _ = mutant;
                false
            }
        }

        /// Switches this bug on, and every other of this crate off, for the rest of the process.
        #[cfg(feature = "mutants")]
        pub fn switch_on(mutant: Mutant) {
            ON.store(mutant as usize + 1, core::sync::atomic::Ordering::Relaxed);
        }
    };
}

instruments! {
    marks {
        StrangerDropped: "a message of a stranger or with an impossible number is dropped",
    }
    mutants {
        CommitsEarlierTerms: "10: a leader commits entries of earlier terms by counting",
    }
}
