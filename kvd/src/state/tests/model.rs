//! The state beside a plain map that knows nothing of overlays: equal after every step, whenever flushes begin, end
//! or are lost in a restart.

use protocol::{
    Condition, KeyRange, Transaction, Verdict as Judgement,
    operation::{Action, Compare, Operand, Relation},
    response::Done,
};

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
    let condition = prop_oneof![
        Just(Condition::Always),
        Just(Condition::Absent),
        (0..40_u64).prop_map(Condition::Revision),
        value.clone().prop_map(|value| Condition::Value(value.into())),
    ];
    let conditional = (key.clone(), prop::option::of(value.clone()), condition, any::<bool>()).prop_map(
        |(key, value, condition, previous)| Operation::Conditional {
            key: key.into(),
            value: value.map(Into::into),
            condition,
            previous,
        },
    );
    let by = prop_oneof![-3..3_i64, Just(i64::MAX), Just(i64::MIN)];
    let range = (key.clone(), prop::option::of(key.clone()), 1..5_u32).prop_map(|(from, to, most)| {
        let range = KeyRange { from: from.into(), to: to.map(Into::into) };
        Operation::DeleteRange { range, most }
    });
    let transaction = transactions();
    let window = (0..12_u64, 0..60_u64, 0..3000_u64)
        .prop_map(|(changes, age_ms, bytes)| past::window(changes, age_ms, bytes));
    prop_oneof![
        1 => window,
        2 => transaction.prop_map(Operation::Transaction),
        6 => (key.clone(), value).prop_map(|(key, value)| set(key, value)),
        2 => key.clone().prop_map(delete),
        3 => conditional,
        2 => (key, by).prop_map(|(key, by)| Operation::Increment { key: key.into(), by }),
        1 => range,
    ]
}

fn transactions() -> impl Strategy<Value = Transaction> {
    let key = || prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]).prop_map(Into::into);
    let compare = (key(), prop::sample::select(Relation::ALL.to_vec()), 0..4_u64)
        .prop_map(|(key, relation, version)| Compare { key, relation, operand: Operand::Version(version) });
    let range = (key(), prop::option::of(key()), 0..4_u32)
        .prop_map(|(from, to, limit)| Action::Range { range: KeyRange { from, to }, limit });
    let action = prop_oneof![
        3 => (key(), prop::sample::select(vec![b"".to_vec(), b"7".to_vec()]))
            .prop_map(|(key, value)| Action::Set { key, value }),
        1 => key().prop_map(|key| Action::Delete { key }),
        1 => key().prop_map(|key| Action::Get { key }),
        2 => range,
    ];
    let list = || prop::collection::vec(action.clone(), 0..5);
    (prop::collection::vec(compare, 0..3), list(), list())
        .prop_map(|(compares, then, otherwise)| Transaction { compares, then, otherwise })
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
    done: Vec<(u64, u64, Operation, Outcome)>,
}

impl Model {
    fn apply(
        &mut self,
        index: u64,
        id: u64,
        learned: u64,
        operation: &Operation,
    ) -> Result<Outcome, Option<Refused>> {
        if learned >= index {
            return Err(None);
        }
        let memory = limits().request_ids;
        let (forgotten, known) = self.done.split_at(self.done.len().saturating_sub(memory));
        if let Some((_, _, first, outcome)) = known.iter().find(|done| done.0 == id) {
            return if first == operation { Ok(again(outcome)) } else { Err(None) };
        }
        if forgotten.last().is_some_and(|done| learned < done.1) {
            return Err(Some(Refused::Expired));
        }
        let outcome = self.write(index, operation);
        self.done.push((id, index, operation.clone(), outcome.clone()));
        Ok(outcome)
    }

    fn write(&mut self, revision: u64, operation: &Operation) -> Outcome {
        let mut decided = Decided { revision, ..Decided::default() };
        match operation {
            Operation::Set { key, value } => return written(revision, self.put(revision, key, Some(value))),
            Operation::Delete { key } => return written(revision, self.put(revision, key, None)),
            Operation::Conditional { key, value, condition, previous } => {
                let row = self.rows.get(key).cloned();
                let is_met = match condition {
                    Condition::Always => true,
                    Condition::Absent => row.is_none(),
                    Condition::Revision(revision) => row.as_ref().map(|row| row.revision) == Some(*revision),
                    Condition::Value(value) => row.as_ref().map(|row| &row.value) == Some(value),
                };
                decided.existed = row.is_some();
                decided.number = row.as_ref().map_or(0, |row| row.revision);
                decided.previous = row.filter(|_| *previous);
                if is_met {
                    self.put(revision, key, value.as_ref());
                } else {
                    decided.verdict = Judgement::Unmet;
                }
            }
            Operation::Increment { key, by } => {
                let row = self.rows.get(key);
                decided.existed = row.is_some();
                let text = row.map_or("0", |row| std::str::from_utf8(&row.value).unwrap());
                match text.parse::<i128>().map(|number| (number, i64::try_from(number + i128::from(*by)))) {
                    Err(_) => {
                        decided.verdict = Judgement::NotANumber;
                        decided.number = row.unwrap().revision;
                    }
                    Ok((number, Err(_))) => {
                        decided.verdict = Judgement::Overflow;
                        decided.number = i64::try_from(number).unwrap().cast_unsigned();
                    }
                    Ok((_, Ok(sum))) => {
                        decided.number = sum.cast_unsigned();
                        self.put(revision, key, Some(&sum.to_string().into_bytes()));
                    }
                }
            }
            Operation::Transaction(transaction) => self.transact(&mut decided, transaction),
            // How far the past goes back is judged by its own model.
            Operation::SetWindow(_) | Operation::SetMember(_) => {}
            Operation::DeleteRange { range, most } => {
                let keys: Vec<Vec<u8>> = self.rows.keys().filter(|key| is_in(range, key)).cloned().collect();
                decided.existed = !keys.is_empty();
                if keys.len() > usize::try_from(*most).unwrap() {
                    decided.verdict = Judgement::TooMany;
                } else {
                    decided.number = keys.len() as u64;
                    self.rows.retain(|key, _| !keys.contains(key));
                }
            }
            // Those about leases have a model of their own.
            other => panic!("not drawn: {other:?}"),
        }
        Outcome::Decided(Box::new(decided))
    }

    fn transact(&mut self, decided: &mut Decided, transaction: &Transaction) {
        let holds = |compare: &Compare| {
            let Operand::Version(version) = compare.operand else { panic!("not drawn") };
            compare.relation.holds(&self.rows.get(&compare.key).map_or(0, |row| row.version), &version)
        };
        let is_met = transaction.compares.iter().all(holds);
        decided.verdict = if is_met { Judgement::Done } else { Judgement::Unmet };
        for action in if is_met { &transaction.then } else { &transaction.otherwise } {
            decided.results.push(match action {
                Action::Set { key, value } => {
                    Done::Written { existed: self.put(decided.revision, key, Some(value)) }
                }
                Action::Delete { key } => Done::Written { existed: self.put(decided.revision, key, None) },
                Action::Get { key } => Done::Read(self.rows.get(key).cloned()),
                Action::Range { range, limit } => {
                    let limit = usize::try_from(*limit).unwrap();
                    let mut rows: Vec<_> = self.rows.clone().into_iter().collect();
                    rows.retain(|(key, _)| is_in(range, key));
                    let more = rows.len() > limit;
                    rows.truncate(limit);
                    Done::Rows { rows, more }
                }
            });
        }
    }

    fn put(&mut self, revision: u64, key: &[u8], value: Option<&Vec<u8>>) -> bool {
        let before = self.rows.remove(key).map(|row| (row.created, row.version));
        if let Some(value) = value {
            let (created, version) =
                before.map_or((revision, 1), |(created, version)| (created, version + 1));
            self.rows.insert(
                key.to_vec(),
                Found { value: value.clone(), revision, created, version, lease: None },
            );
        }
        before.is_some()
    }
}

fn written(revision: u64, existed: bool) -> Outcome {
    Outcome::Written(WriteOutcome { revision, existed, deduplicated: false })
}

fn is_in(range: &KeyRange, key: &[u8]) -> bool {
    key >= range.from.as_slice() && range.to.as_ref().is_none_or(|to| key < to.as_slice())
}

/// What a repetition hears.
fn again(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Written(written) => Outcome::Written(WriteOutcome { deduplicated: true, ..*written }),
        Outcome::Decided(decided) => {
            let decided =
                Decided { deduplicated: true, previous: None, results: Vec::new(), ..(**decided).clone() };
            Outcome::Decided(Box::new(decided))
        }
    }
}

/// The state under test, one that never flushes, the model, and the log.
struct Trial {
    bench: Bench,
    witness: Bench,
    model: Model,
    past: past::Past,
    log: Vec<Entry>,
    hashes: Vec<u64>,
    flush: Option<Flush>,
}

impl Trial {
    fn new() -> Self {
        let (bench, witness) = (Bench::new(), Bench::new());
        let hashes = vec![witness.state.hash()];
        let (model, past) = (Model::default(), past::Past::default());
        let mut trial = Self { bench, witness, model, past, log: Vec::new(), hashes, flush: None };
        trial.write(u64::MAX, 3, &past::window(64, 1000, 1_000_000));
        trial
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { id, learned_ago, operation } => self.write(id, learned_ago, &operation),
            Step::BeginFlush => self.flush = self.bench.state.begin_flush(0).or(self.flush.take()),
            Step::RunAndFinish => {
                if let Some(flush) = self.flush.take() {
                    self.bench.state.finish_flush(flush.run().unwrap());
                }
            }
            Step::Restart => self.restart(),
        }
    }

    fn write(&mut self, id: u64, learned_ago: u64, operation: &Operation) {
        let index = self.bench.next();
        let learned = (index + 2).saturating_sub(learned_ago);
        let expected = self.model.apply(index, id, learned, operation);
        let entry = entry(index, request(id, learned), operation.clone());
        let result = self.bench.state.apply(&entry).unwrap().unwrap().result;
        match expected {
            Ok(mut outcome) => {
                let is_first = !matches!(&result, Ok(Outcome::Decided(decided)) if decided.deduplicated)
                    && !matches!(&result, Ok(Outcome::Written(written)) if written.deduplicated);
                if is_first {
                    self.past.wrote(index, index, operation, &self.model.rows);
                }
                if let (Operation::SetWindow(_), Outcome::Decided(decided)) = (operation, &mut outcome) {
                    decided.number = if is_first {
                        self.bench.state.kept_history().oldest
                    } else {
                        let Ok(Outcome::Decided(first)) = &result else { panic!("{result:?}") };
                        first.number
                    };
                }
                assert_eq!(result, Ok(outcome));
            }
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
        self.past.check(&self.bench.state);
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
