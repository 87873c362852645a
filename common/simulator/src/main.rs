//! placeholder
fn main() {
    let seed: u64 = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1);
    let n: u64 = std::env::args().nth(2).and_then(|s| s.parse().ok()).unwrap_or(1);
    let aloud = std::env::args().nth(3).is_some();
    for seed in seed..seed + n {
        let options = simulator::options::Options::of(seed);
        let began = std::time::Instant::now();
        eprintln!("{seed} {options}");
        let out = simulator::run::run(seed, &options, aloud);
        println!(
            "{seed} ok {:016x} events {} sim {:.0}s real {:.2?} committed {} calls {} faults {}",
            out.hash,
            out.events,
            out.time as f64 / 1e6,
            began.elapsed(),
            out.committed,
            out.calls,
            out.counts.faults()
        );
    }
}
