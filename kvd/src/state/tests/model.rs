//! The state beside a plain map that knows nothing of overlays: equal after every step, whenever flushes begin, end
//! or are lost in a restart.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write { id: u64, learned_ago: u64, operation: Operation },
    BeginFlush,
    RunAndFinish,
    Restart,
}

fn operations() -> impl Strategy<Value = Operation> {
    let key = prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    let value = prop::sample::select(vec!["", "1", "2", "a longer value"]);
    prop_oneof![
        3 => (key.clone(), value).prop_map(|(key, value)| set(key, value)),
        1 => key.prop_map(delete),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0..30_u64, 0..40_u64, operations()).prop_map(|(id, learned_ago, operation)| Step::Write {
        id,
        learned_ago,
        operation,
    });
    let step = prop_oneof![
        20 => write,
        2 => Just(Step::BeginFlush),
        2 => Just(Step::RunAndFinish),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

/// The rules written down a second time, in the plainest way.
#[derive(Default)]
struct Model {
    rows: BTreeMap<Vec<u8>, Found>,
    done: Vec<(u64, u64, Operation, bool)>,
}

impl Model {
    fn apply(
        &mut self,
        index: u64,
        id: u64,
        learned: u64,
        operation: &Operation,
    ) -> Result<WriteOutcome, Option<Refused>> {
        if learned >= index {
            return Err(None);
        }
        let memory = limits().request_ids;
        let (forgotten, known) = self.done.split_at(self.done.len().saturating_sub(memory));
        if let Some((_, revision, first, existed)) = known.iter().find(|done| done.0 == id) {
            let outcome = WriteOutcome { revision: *revision, existed: *existed, deduplicated: true };
            return if first == operation { Ok(outcome) } else { Err(None) };
        }
        if forgotten.last().is_some_and(|done| learned < done.1) {
            return Err(Some(Refused::Expired));
        }
        let existed = self.write(index, operation);
        self.done.push((id, index, operation.clone(), existed));
        Ok(WriteOutcome { revision: index, existed, deduplicated: false })
    }

    fn write(&mut self, revision: u64, operation: &Operation) -> bool {
        match operation {
            Operation::Delete { key } => self.rows.remove(key).is_some(),
            Operation::Set { key, value } => {
                let before = self.rows.get(key).map(|row| (row.created, row.version));
                let (created, version) =
                    before.map_or((revision, 1), |(created, version)| (created, version + 1));
                self.rows.insert(key.clone(), Found { value: value.clone(), revision, created, version });
                before.is_some()
            }
        }
    }
}

/// The state under test, one that never flushes, the model, and the log.
struct Trial {
    bench: Bench,
    witness: Bench,
    model: Model,
    log: Vec<Entry>,
    hashes: Vec<u64>,
    flush: Option<Flush>,
}

impl Trial {
    fn new() -> Self {
        let (bench, witness) = (Bench::new(), Bench::new());
        let hashes = vec![witness.state.hash()];
        Self { bench, witness, model: Model::default(), log: Vec::new(), hashes, flush: None }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { id, learned_ago, operation } => self.write(id, learned_ago, operation),
            Step::BeginFlush => self.flush = self.bench.state.begin_flush(0).or(self.flush.take()),
            Step::RunAndFinish => {
                if let Some(flush) = self.flush.take() {
                    self.bench.state.finish_flush(flush.run().unwrap());
                }
            }
            Step::Restart => self.restart(),
        }
    }

    fn write(&mut self, id: u64, learned_ago: u64, operation: Operation) {
        let index = self.bench.next();
        let learned = (index + 2).saturating_sub(learned_ago);
        let expected = self.model.apply(index, id, learned, &operation);
        let entry = entry(index, request(id, learned), operation);
        let result = self.bench.state.apply(&entry).unwrap().unwrap().result;
        match expected {
            Ok(outcome) => assert_eq!(result, Ok(outcome)),
            Err(Some(refused)) => assert_eq!(result, Err(refused)),
            Err(None) => assert!(matches!(result, Err(Refused::BadRequestId(_))), "{result:?}"),
        }
        self.witness.state.apply(&entry).unwrap();
        self.log.push(entry);
        self.hashes.push(self.witness.state.hash());
    }

    /// Everything in memory is lost, and the log is applied again from where the disk stands.
    fn restart(&mut self) {
        self.flush = None;
        self.bench.reopen();
        let at = usize::try_from(self.bench.state.applied().index.0).unwrap();
        assert_eq!(self.bench.state.hash(), self.hashes[at], "the hash at index {at}");
        for entry in &self.log[at..] {
            self.bench.state.apply(entry).unwrap();
        }
    }

    fn check(&self) {
        assert_eq!(self.bench.state.applied(), self.witness.state.applied());
        assert_eq!(self.bench.state.hash(), self.witness.state.hash());
        for key in ["a", "b", "c", "d", "e", "f"] {
            assert_eq!(
                self.bench.state.get(key.as_bytes()).unwrap().as_ref(),
                self.model.rows.get(key.as_bytes())
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_state_is_its_model_wherever_flushes_fall(steps in steps()) {
        let mut trial = Trial::new();
        for step in steps {
            trial.step(step);
            trial.check();
        }
    }
}
